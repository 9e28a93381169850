//! Lists: filtered, sorted, cut into pages with links.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::asked::Asked;
use super::filter::{Field, Filter};

const DEFAULT_LIMIT: usize = 20;
const HIGHEST_LIMIT: usize = 100;

/// What a list knows about itself.
pub(super) struct Listing<'a> {
    pub base: String,
    pub fields: &'a [Field],
    pub sorts: &'a [&'a str],
}

/// The page that `asked` wants of `items`; the error says what is wrong with the query.
pub(super) fn page(
    listing: &Listing,
    asked: &Asked,
    filter: Option<&str>,
    mut items: Vec<Value>,
) -> Result<Value, String> {
    if let Some(filter) = filter {
        let filter = Filter::parse(filter, listing.fields)?;
        items.retain(|item| filter.matches(item));
    }
    if let Some(sort) = asked.query("sort") {
        sort_by(&mut items, sort, listing.sorts)?;
    }
    let limit = limit(asked)?;
    let start = match asked.query("next").or_else(|| asked.query("prev")) {
        Some(cursor) => offset(cursor).ok_or("the cursor is not one of this list")?,
        None => 0,
    };
    let total = items.len();
    let data: Vec<_> = items.into_iter().skip(start).take(limit).collect();
    let mut links = json!({ "self": { "href": href(listing, asked, None) } });
    if start + data.len() < total {
        links["next"] = json!({ "href": href(listing, asked, Some(("next", start + limit))) });
    }
    if start > 0 {
        let before = start.saturating_sub(limit);
        links["prev"] = json!({ "href": href(listing, asked, Some(("prev", before))) });
    }
    let mut page = json!({ "data": data, "links": links });
    if asked.query("totalResults") == Some("true") {
        page["totalResults"] = json!(total);
    }
    Ok(page)
}

/// `limit`, from 1 to 100.
fn limit(asked: &Asked) -> Result<usize, String> {
    let Some(limit) = asked.query("limit") else {
        return Ok(DEFAULT_LIMIT);
    };
    limit
        .parse()
        .ok()
        .filter(|limit| (1..=HIGHEST_LIMIT).contains(limit))
        .ok_or_else(|| format!("limit must be from 1 to {HIGHEST_LIMIT}"))
}

fn sort_by(items: &mut [Value], sort: &str, sorts: &[&str]) -> Result<(), String> {
    let (descending, key) = match sort.strip_prefix('-') {
        Some(key) => (true, key),
        None => (false, sort.trim_start_matches(['+', ' '])),
    };
    if !sorts.contains(&key) {
        return Err(format!("sort must be one of {}", sorts.join(", ")));
    }
    let text = |item: &Value| item.get(key).and_then(Value::as_str).map(str::to_lowercase);
    items.sort_by_key(text);
    if descending {
        items.reverse();
    }
    Ok(())
}

/// The same query with another cursor. The raw text is reused, so nothing is encoded twice.
fn href(listing: &Listing, asked: &Asked, cursor: Option<(&str, usize)>) -> String {
    let kept = asked.raw_query.split('&').filter(|pair| {
        let keeps = cursor.is_none() || !(pair.starts_with("next=") || pair.starts_with("prev="));
        keeps && !pair.is_empty()
    });
    let mut query: Vec<_> = kept.map(str::to_owned).collect();
    if let Some((name, offset)) = cursor {
        let cursor = URL_SAFE_NO_PAD.encode(format!("offset {offset}"));
        query.push(format!("{name}={cursor}"));
    }
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}{}{mark}{}", listing.base, asked.path, query.join("&"))
}

fn offset(cursor: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix("offset ")?.parse().ok()
}
