//! May they.

use std::sync::Arc;

use journey::{Call, Caller, Permit, Request, Scope, Settle};
use wire::{Code, Failure};

/// Whether a caller may call a path of a scope.
///
/// # Errors
/// [`Code::PermissionDenied`] that names the scope.
pub fn may_call(caller: &Caller, scope: Scope) -> Result<(), Failure> {
    if caller.scopes.has(scope) {
        return Ok(());
    }
    Err(Failure::new(Code::PermissionDenied, format!("this key has not the scope `{}` that the path needs", scope.name())))
}

/// Whether a caller may use a model.
///
/// # Errors
/// [`Code::ModelNotAllowed`].
pub fn may_use(caller: &Caller, model: &str) -> Result<(), Failure> {
    if caller.may_use(model) {
        return Ok(());
    }
    Err(Failure::new(Code::ModelNotAllowed, format!("this key may not use the model `{model}`")).at("model"))
}

/// Admits an inference call; from here on it has exactly one receipt.
///
/// # Errors
/// What [`may_call`] and [`may_use`] refuse.
pub fn admit(caller: &Caller, call: &Call, request: &Request, sink: &Arc<dyn Settle>) -> Result<Permit, Failure> {
    may_call(caller, Scope::Inference)?;
    may_use(caller, request.model())?;
    // Fallbacks that the request names itself are no way round.
    request.head.models.iter().try_for_each(|model| may_use(caller, model))?;
    Ok(Permit::new(call, request, caller, sink.clone()))
}
