//! The port to time zones, over the runtime's `Intl`: its table is kept up to date there and weighs nothing here.

use std::cell::RefCell;
use std::collections::HashMap;

use js_sys::{Array, Date, Object, Reflect};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use crate::core::value::time::gmt_offset;
use crate::ports::Zones;

#[wasm_bindgen]
extern "C" {
    /// `js_sys` has this type too, with a constructor that cannot fail; this one throws for a name that is no zone.
    #[wasm_bindgen(js_namespace = Intl)]
    #[derive(Clone)]
    type DateTimeFormat;
    #[wasm_bindgen(constructor, js_namespace = Intl, catch)]
    fn new(locale: &str, options: &Object) -> Result<DateTimeFormat, JsValue>;
    #[wasm_bindgen(method, catch, js_name = formatToParts)]
    fn parts(this: &DateTimeFormat, date: &Date) -> Result<Array, JsValue>;
}

/// Making one costs as much as a hundred questions to it; so many are kept.
const KEPT: usize = 64;

thread_local! {
    static FORMATS: RefCell<HashMap<String, DateTimeFormat>> = RefCell::default();
}

/// The format that writes the offset of a zone; `None` for a name that is no zone.
fn format(zone: &str) -> Option<DateTimeFormat> {
    FORMATS.with_borrow_mut(|formats| {
        if let Some(format) = formats.get(zone) {
            return Some(format.clone());
        }
        let options = Object::new();
        let set = |name: &str, value: &str| Reflect::set(&options, &name.into(), &value.into());
        set("timeZone", zone).ok()?;
        set("timeZoneName", "longOffset").ok()?;
        let format = DateTimeFormat::new("en-US", &options).ok()?;
        if formats.len() >= KEPT {
            formats.clear();
        }
        formats.insert(zone.to_owned(), format.clone());
        Some(format)
    })
}

/// The zones of `Intl.DateTimeFormat`.
#[derive(Clone, Copy)]
pub struct IntlZones;

impl Zones for IntlZones {
    fn offset(&self, zone: &str, seconds: i64) -> Option<i32> {
        let format = format(zone)?;
        let date = Date::new(&JsValue::from_f64(seconds as f64 * 1_000.0));
        let text = |part: &Object, name: &str| Reflect::get(part, &name.into()).ok()?.as_string();
        let parts = format.parts(&date).ok()?;
        let name = parts
            .iter()
            .filter_map(|part| part.dyn_into::<Object>().ok())
            .find(|part| text(part, "type").as_deref() == Some("timeZoneName"))?;
        gmt_offset(&text(&name, "value")?)
    }
}
