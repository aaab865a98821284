//! What the database adds to the configuration: keys, and models that were registered by name.

use std::collections::HashMap;

use config::{Account, Config};
use store::{Store, StoreError, keys::Key, models::Model, sessions::Ended, users::User};

/// What a snapshot is built from beside the configuration.
#[derive(Debug, Default)]
pub struct Stored {
    pub keys: Vec<Key>,
    pub models: Vec<Model>,
    pub users: Vec<User>,
    /// Sessions that ended before their time, by user.
    pub ended_sessions: HashMap<String, Ended>,
    /// Models whose files the router keeps.
    pub files: Vec<String>,
}

impl Stored {
    /// Everything that is stored now.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(store: &Store) -> Result<Self, StoreError> {
        let files =
            store::model_files::list(store).await?.into_iter().filter(|file| file.status == "ready").map(|file| file.name).collect();
        let users = store::users::list(store).await?;
        Ok(Self {
            keys: store::keys::list(store).await?,
            models: store::models::list(store).await?,
            users,
            files,
            ended_sessions: store::sessions::ended(store).await?,
        })
    }

    /// The accounts in use: those of the configuration, with the registered models that they serve, and those that registered models alone need.
    pub fn accounts(&self, config: &Config) -> Vec<Account> {
        let mut accounts: Vec<Account> = config.accounts.iter().filter(|a| a.enabled).cloned().collect();
        let mut places: HashMap<(&str, &str), Option<usize>> = HashMap::new();
        for model in &self.models {
            let place = *places.entry((&model.r#type, &model.endpoint)).or_insert_with(|| place(&mut accounts, config, model));
            if let Some(account) = place.and_then(|at| accounts.get_mut(at))
                && !account.models.contains(&model.name)
            {
                account.models.push(model.name.clone());
            }
        }
        accounts
    }
}

/// Where the account of a registered model stands; one row that cannot be used does not shut the house.
fn place(accounts: &mut Vec<Account>, config: &Config, model: &Model) -> Option<usize> {
    match config.account_of_type(&model.r#type, &model.endpoint) {
        Ok(account) => Some(accounts.iter().position(|a| a.name == account.name).unwrap_or_else(|| {
            accounts.push(account);
            accounts.len() - 1
        })),
        Err(error) => {
            tracing::warn!(model = model.name, %error, "a registered model cannot be served");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn model(name: &str, r#type: &str, endpoint: &str) -> Model {
        Model { name: name.to_owned(), r#type: r#type.to_owned(), endpoint: endpoint.to_owned(), ..Model::default() }
    }

    #[test]
    fn registered_models_join_the_account_of_their_address() {
        let file = "accounts:\n  - {name: own, provider: openai, base_url: http://own:1, api_key: k, models: [m]}\n  - {name: off, base_url: http://off:1, enabled: false}\n";
        let none = config::Environment::default();
        let config = config::load_text(&config::LoadArgs::default(), &none, file, Path::new("router.yaml")).expect("a valid file").config;
        let models = vec![
            model("m", "openai", "http://own:1"),
            model("m2", "openai", "http://own:1/v1"),
            model("x1", "openai", "http://off:1"),
            model("x2", "openai", "http://off:1/"),
            model("broken", "nothing", "http://h"),
        ];
        let accounts = Stored { models, ..Stored::default() }.accounts(&config);
        let got: Vec<_> = accounts.iter().map(|a| (a.name.as_str(), a.models.join(" "))).collect();
        assert_eq!(got, [("own", "m m2".to_owned()), ("openai@off:1/v1", "x1 x2".to_owned())]);
    }
}
