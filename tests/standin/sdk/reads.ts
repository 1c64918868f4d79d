// Every field of Claude's answers that the client reads, as an access that the SDK's own type declarations must allow.
// `types.mjs` compiles this file, and checks that no field read in src/claude is missing here.

import Anthropic from "@anthropic-ai/sdk";

type Body = { error: Anthropic.ErrorResponse["error"] & { details?: { error_code?: string } } };

export function message(m: Anthropic.Message): unknown[] {
  const refusal = m.stop_details;
  return [m.id, m.model, m.type, m.stop_reason, m.usage, ...m.content.map(block)].concat(
    refusal && refusal.type === "refusal" ? [refusal.category, refusal.explanation] : [],
  );
}

export function block(b: Anthropic.ContentBlock): unknown[] {
  switch (b.type) {
    case "text":
      return [b.text, b.citations];
    case "tool_use":
      return [b.id, b.name, b.input];
    case "server_tool_use":
      return [b.input];
    case "thinking":
    case "redacted_thinking":
      return [];
    default:
      return [b.type];
  }
}

export function usage(u: Anthropic.Usage): unknown[] {
  return [
    u.input_tokens,
    u.cache_creation_input_tokens,
    u.cache_read_input_tokens,
    u.cache_creation?.ephemeral_5m_input_tokens,
    u.cache_creation?.ephemeral_1h_input_tokens,
    u.output_tokens,
    u.output_tokens_details?.thinking_tokens,
    u.server_tool_use?.web_search_requests,
    u.server_tool_use?.web_fetch_requests,
    u.service_tier === "batch",
    u.inference_geo === "us",
  ];
}

export function event(e: Anthropic.RawMessageStreamEvent): unknown[] {
  switch (e.type) {
    case "message_start":
      return message(e.message);
    case "content_block_start":
      return [e.index, e.content_block.type];
    case "content_block_delta":
      return [e.index, ...delta(e.delta)];
    case "content_block_stop":
      return [e.index];
    case "message_delta":
      return [e.delta.stop_reason, e.delta.stop_details, e.usage.output_tokens, e.usage.input_tokens];
    case "message_stop":
      return [];
  }
}

function delta(d: Anthropic.RawContentBlockDelta): unknown[] {
  switch (d.type) {
    case "text_delta":
      return [d.text];
    case "citations_delta":
      return [d.citation];
    case "input_json_delta":
      return [d.partial_json];
    case "thinking_delta":
      return [d.thinking];
    case "signature_delta":
      return [d.signature];
    default:
      return [d];
  }
}

export function batch(b: Anthropic.Messages.MessageBatch): unknown[] {
  const counts = b.request_counts;
  const ended = b.processing_status === "ended" || b.processing_status === "canceling";
  return [b.id, ended, b.created_at, counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired];
}

export function page(p: Anthropic.Messages.MessageBatchesPage): unknown[] {
  return [p.has_more, ...p.data.map(batch)];
}

export function line(l: Anthropic.Messages.MessageBatchIndividualResponse): unknown[] {
  switch (l.result.type) {
    case "succeeded":
      return [l.custom_id, message(l.result.message)];
    case "errored":
      return [l.custom_id, failure(l.result.error)];
    default:
      return [l.custom_id];
  }
}

export function failure(e: Anthropic.ErrorResponse): unknown[] {
  const error = e.error as Body["error"];
  return [e.type, e.request_id, error.type, error.message, error.details?.error_code];
}

// The codes of errors that the client tells apart have classes of their own.
export type Codes = Anthropic.ErrorDetails["error_code"];
