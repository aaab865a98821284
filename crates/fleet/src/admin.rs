//! What an administrator does to nodes.

use serde::{Deserialize, Deserializer};
use wire::{Code, Failure};

use crate::{
    Fleet, NodeView,
    record::{Record, Status},
    register::stored,
};

/// Longest custom name, note and tag, and most tags.
const CUSTOM_NAME_BYTES_MAX: usize = 256;
const NOTES_BYTES_MAX: usize = 8192;
const TAG_BYTES_MAX: usize = 64;
const TAGS_MAX: usize = 32;

/// `PUT /api/nodes/{id}/settings`. A missing field stays as it is; `null` or blank text clears.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeSettings {
    #[serde(deserialize_with = "present")]
    pub custom_name: Option<Option<String>>,
    pub tags: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub notes: Option<Option<String>>,
}

/// Tells `null` (inner `None`) from a missing field (outer `None`, by the default).
#[expect(clippy::option_option, reason = "missing, null and text are three things")]
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

impl Fleet {
    /// Changes what people call and note about a node. Stored when this returns.
    ///
    /// # Errors
    /// 404 for an unknown node, 400 for texts beyond their bounds.
    pub async fn update_settings(&self, id: &str, settings: NodeSettings) -> Result<NodeView, Failure> {
        let custom_name = settings.custom_name.map(|text| trimmed("custom_name", text, CUSTOM_NAME_BYTES_MAX)).transpose()?;
        let notes = settings.notes.map(|text| trimmed("notes", text, NOTES_BYTES_MAX)).transpose()?;
        let tags = settings.tags.map(clean_tags).transpose()?;
        self.change(id, |record| {
            if let Some(name) = custom_name {
                record.custom_name = name;
            }
            if let Some(notes) = notes {
                record.notes = notes;
            }
            if let Some(tags) = tags {
                record.tags = tags;
            }
        })
        .await?;
        self.get(id).ok_or_else(|| not_found(id))
    }

    /// Treats a node as gone until its next heartbeat.
    ///
    /// # Errors
    /// 404 for an unknown node.
    pub async fn disconnect(&self, id: &str) -> Result<(), Failure> {
        self.change(id, |record| {
            record.status = Status::Offline;
            record.online_since_ms = None;
        })
        .await
    }

    /// Gives a node nothing new until it registers again or this is taken back; what is in flight there goes on.
    ///
    /// # Errors
    /// 404 for an unknown node.
    pub async fn drain(&self, id: &str, draining: bool) -> Result<(), Failure> {
        self.change(id, |record| record.draining = draining).await
    }

    /// Consents to a node that waits for it. One that does not wait stays as it is.
    ///
    /// # Errors
    /// 404 for an unknown node.
    pub async fn approve(&self, id: &str) -> Result<NodeView, Failure> {
        self.change(id, |record| record.pending = false).await?;
        tracing::info!(node = id, "node approved");
        self.get(id).ok_or_else(|| not_found(id))
    }

    /// Forgets a node; its token is worth nothing from now on.
    ///
    /// # Errors
    /// 404 for an unknown node.
    pub async fn delete(&self, id: &str) -> Result<(), Failure> {
        let _order = self.writing.lock().await;
        if self.registry().get(id).is_none() {
            return Err(not_found(id));
        }
        store::nodes::delete(&self.store, id).await.map_err(stored)?;
        let mut registry = self.registry();
        registry.remove(id);
        self.publish(&registry);
        tracing::info!(node = id, "node removed");
        Ok(())
    }

    /// Stores a change of one record, then makes it.
    async fn change(&self, id: &str, change: impl FnOnce(&mut Record)) -> Result<(), Failure> {
        let _order = self.writing.lock().await;
        // Tried on a copy first, so that what can't be stored does not happen.
        let mut copy = {
            let registry = self.registry();
            let record = registry.get(id).ok_or_else(|| not_found(id))?;
            Record::from_row(record.to_row(), &self.clock, &self.turns)
        };
        change(&mut copy);
        store::nodes::upsert(&self.store, &copy.to_row()).await.map_err(stored)?;
        let mut registry = self.registry();
        let record = registry.get_mut(id).ok_or_else(|| not_found(id))?;
        // Heartbeats may have come meanwhile: only what administrators change is taken over.
        record.custom_name = copy.custom_name;
        record.tags = copy.tags;
        record.notes = copy.notes;
        record.draining = copy.draining;
        record.pending = copy.pending;
        if copy.status == Status::Offline {
            record.status = Status::Offline;
            record.online_since_ms = None;
        }
        self.publish(&registry);
        Ok(())
    }
}

fn not_found(id: &str) -> Failure {
    // Ids are UUIDs; whatever else was asked for is cut short in the answer.
    Failure::new(Code::NotFound, format!("Node not found: {}", id.chars().take(64).collect::<String>()))
}

fn trimmed(field: &str, text: Option<String>, bytes_max: usize) -> Result<Option<String>, Failure> {
    let text = text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
    match text {
        Some(t) if t.len() > bytes_max => Err(Failure::invalid(field, format!("`{field}` may have at most {bytes_max} bytes"))),
        text => Ok(text),
    }
}

fn clean_tags(tags: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut clean: Vec<String> = Vec::new();
    for tag in tags {
        let tag = tag.trim();
        if tag.len() > TAG_BYTES_MAX {
            return Err(Failure::invalid("tags", format!("a tag may have at most {TAG_BYTES_MAX} bytes")));
        }
        if !tag.is_empty() && !clean.iter().any(|known| known == tag) {
            clean.push(tag.to_owned());
        }
    }
    if clean.len() > TAGS_MAX {
        return Err(Failure::invalid("tags", format!("a node may have at most {TAGS_MAX} tags")));
    }
    Ok(clean)
}
