//! Whether a value fits a compiled schema: a guard for answers that are not
//! made from the schema itself, such as plans.

use serde_json::Value;

use super::Node;

pub fn fits(node: &Node, value: &Value) -> bool {
    match node {
        Node::Any => true,
        Node::Null => value.is_null(),
        Node::Bool(_) => value.is_boolean(),
        Node::Integer(_) => value.is_i64() || value.is_u64(),
        Node::Number(_) => value.is_number(),
        Node::Text(..) => value.is_string(),
        Node::Const(wanted) => wanted == value,
        Node::Enum(choice) => choice.values.contains(value),
        Node::AnyOf(choices) => choices.iter().any(|c| fits(c, value)),
        Node::Array(item, hints) => value.as_array().is_some_and(|list| {
            list.len() >= hints.min_items && list.iter().all(|v| fits(item, v))
        }),
        Node::Object(props) => value.as_object().is_some_and(|map| {
            let all = props.iter().all(|p| match map.get(&p.name) {
                Some(inner) => fits(&p.node, inner),
                None => !p.required,
            });
            all && map.keys().all(|k| props.iter().any(|p| &p.name == k))
        }),
    }
}
