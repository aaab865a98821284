use std::time::Duration;

use config::{LoadArgs, env::Environment};

use super::*;
use crate::learn::FORGOTTEN_AFTER;
