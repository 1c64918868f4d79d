/** `into`: the form that each answer has. A zod schema (any Standard Schema that knows its JSON Schema), or a JSON Schema. */

import { InvalidInput } from "./errors.js";

export type JsonSchema = { readonly [keyword: string]: unknown };

interface Issue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

type Checked<Output> = { readonly value: Output; readonly issues?: undefined } | { readonly issues: ReadonlyArray<Issue> };

/** The part of https://standardschema.dev that is used here; zod has it since 4.2. */
export interface StandardSchema<Output = unknown> {
  readonly "~standard": {
    readonly version: number;
    readonly vendor: string;
    readonly validate: (value: unknown) => Checked<Output> | Promise<Checked<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
    readonly jsonSchema?: unknown;
  };
}

/** The type of an answer. */
export type Answer<Into> = Into extends { readonly "~standard": { readonly types?: infer Types } }
  ? NonNullable<Types> extends { readonly output: infer Output }
    ? Output
    : unknown
  : Record<string, unknown>;

/** What an answer stands in where its type is no object. */
const VALUE = "value";

export class Into {
  readonly schema: JsonSchema | undefined;
  private readonly checker: StandardSchema | undefined;
  private readonly wrapped: boolean = false;

  constructor(into: StandardSchema | JsonSchema | undefined) {
    if (into === undefined) return;
    if (!("~standard" in into)) {
      this.schema = into;
      return;
    }
    this.checker = into as StandardSchema;
    const { $schema: _, ...schema } = written(this.checker);
    this.wrapped = !isObject(schema);
    this.schema = this.wrapped ? wrap(schema) : schema;
  }

  /** An answer in its type, or what is wrong with it. */
  async read(output: unknown): Promise<{ value: unknown } | { fault: string }> {
    if (this.checker === undefined) return { value: output };
    const inner = this.wrapped && isRecord(output) ? output[VALUE] : output;
    const checked = await this.checker["~standard"].validate(inner);
    const issue = checked.issues?.[0];
    if (issue === undefined) return { value: (checked as { value: unknown }).value };
    const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
    return { fault: path === "" ? issue.message : `${path}: ${issue.message}` };
  }

  /** The columns that answers have, in the order of the schema. */
  fields(): string[] {
    if (this.schema === undefined) return ["text"];
    const properties = this.schema["properties"];
    return isRecord(properties) ? Object.keys(properties) : [];
  }

  /** An answer as cells of one row. */
  cells(value: unknown): Record<string, unknown> {
    return isRecord(value) && !this.wrapped ? value : { [VALUE]: value };
  }
}

/** The JSON Schema of what goes in: transforms come after it. */
function written(checker: StandardSchema): JsonSchema {
  const writer = checker["~standard"].jsonSchema as
    | { input?: (options: { target: string }) => JsonSchema }
    | undefined;
  if (typeof writer?.input !== "function") {
    const vendor = checker["~standard"].vendor;
    throw new InvalidInput(`This ${vendor} schema cannot be written as JSON Schema; use zod 4.2 or newer, or give a JSON Schema.`);
  }
  return writer.input({ target: "draft-2020-12" });
}

function wrap(schema: JsonSchema): JsonSchema {
  const { $defs, ...own } = schema;
  return {
    type: "object",
    properties: { [VALUE]: own },
    required: [VALUE],
    additionalProperties: false,
    ...($defs === undefined ? {} : { $defs }),
  };
}

function isObject(schema: JsonSchema): boolean {
  return schema["type"] === "object" && isRecord(schema["properties"]);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
