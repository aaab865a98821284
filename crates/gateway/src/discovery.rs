//! Which models services have: asked behind the path, at the start and every five minutes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use config::account::Reach;
use futures_util::{StreamExt, stream};

use crate::app::App;

/// How long a list is believed.
const EVERY: Duration = Duration::from_mins(5);
/// How soon a service that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// Services that are asked at once.
const AT_ONCE: usize = 8;
/// Most bytes of a list.
const LIST_BYTES_MAX: usize = 8 << 20;
/// Time for a list.
const TIMEOUTS: net::Timeouts = net::Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    total: Duration::from_secs(20),
};

/// Lists by account.
pub type Lists = HashMap<Arc<str>, Arc<Vec<String>>>;

/// What is known of services' models.
#[derive(Default)]
pub struct Discovery {
    lists: ArcSwap<Lists>,
}

impl Discovery {
    /// The lists that are known now.
    pub fn lists(&self) -> Arc<Lists> {
        self.lists.load_full()
    }

    /// Asks for as long as the house stands; a list that changed makes a new snapshot.
    pub async fn tend(app: &Arc<App>) {
        let mut asked: HashMap<Arc<str>, Instant> = HashMap::new();
        loop {
            let house = app.house();
            let lists = app.discovery.lists();
            let services = house.config.accounts.iter().filter(|a| a.enabled && a.reach == Reach::Discovered);
            let is_due = |name: &str| {
                let patience = if lists.contains_key(name) { EVERY } else { AGAIN };
                asked.get(name).is_none_or(|at| at.elapsed() >= patience)
            };
            let due: Vec<_> = services.filter(|a| is_due(&a.name)).filter_map(|a| house.accounts.get(&*a.name).cloned()).collect();
            asked.retain(|name, _| house.accounts.contains_key(name));
            asked.extend(due.iter().map(|account| (account.name.clone(), Instant::now())));
            let found: Vec<_> = stream::iter(due).map(|account| ask(app, account)).buffer_unordered(AT_ONCE).collect().await;
            let mut new =
                lists.iter().filter(|(name, _)| house.accounts.contains_key(*name)).map(|(n, l)| (n.clone(), l.clone())).collect::<Lists>();
            new.extend(found.into_iter().flatten());
            if new != *lists {
                app.discovery.lists.store(Arc::new(new));
                if let Err(error) = app.refresh().await {
                    tracing::error!(%error, "a service's new model list cannot be taken over");
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn ask(app: &Arc<App>, account: Arc<upstream::Account>) -> Option<(Arc<str>, Arc<Vec<String>>)> {
    account.ready().await.ok()?;
    let request = account.list().ok()?;
    let answer = app.client.fetch(request, &TIMEOUTS, LIST_BYTES_MAX).await.ok()?;
    let names = answer.status().is_success().then(|| upstream::listed(answer.body())).flatten()?;
    Some((account.name.clone(), Arc::new(names)))
}
