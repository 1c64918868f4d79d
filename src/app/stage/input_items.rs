//! A job's own items, read out of the pages of its input.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use crate::app::support::blobs;
use crate::app::{App, AppError};
use crate::ports::{Db, Ports};
use crate::store::job::jobs;
use crate::store::row::Columns;
use crate::store::task::admission::Body;

/// The items `from..to` of a job, in their wire form.
pub async fn items<P: Ports>(
    app: &App<P>,
    job: &str,
    from: u32,
    to: u32,
) -> Result<Vec<Value>, AppError> {
    let answers = app
        .ports
        .db()
        .batch(vec![jobs::pages(job, from, to)])
        .await?;
    let mut items = Vec::new();
    for row in answers
        .first()
        .map(|a| a.rows.as_slice())
        .unwrap_or_default()
    {
        let first = row.count("first");
        let text = blobs::text(app, &Body::read(row, "body", "blob"))
            .await?
            .unwrap_or_default();
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let upto = usize::try_from(to.saturating_sub(first)).unwrap_or(usize::MAX);
        let portion = Portion {
            skip,
            upto,
            into: &mut items,
        };
        let mut page = serde_json::Deserializer::from_str(&text);
        portion
            .deserialize(&mut page)
            .map_err(|_| AppError::Internal("a page of input is not readable".into()))?;
    }
    Ok(items)
}

/// Some entries of a list: the others, of which a page may have ten thousand, never become values.
pub struct Portion<'a> {
    skip: usize,
    upto: usize,
    into: &'a mut Vec<Value>,
}

impl<'de> DeserializeSeed<'de> for Portion<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<(), D::Error> {
        list.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Portion<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for place in 0.. {
            if (self.skip..self.upto).contains(&place) {
                match list.next_element()? {
                    Some(item) => self.into.push(item),
                    None => break,
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(())
    }
}
