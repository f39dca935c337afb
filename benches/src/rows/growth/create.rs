//! Many key sets through the key-manager's admin rpcs, many at once.

use client_admin::AdminClient;

use super::each::each;
use crate::{
    Fault,
    service::{KeySetSpec, create},
    stack::Stack,
};

/// Creations in flight. The key-manager writes one at a time; while it writes one, the keys of others are made.
const AT_ONCE: usize = 32;
const CONNECTIONS: usize = 4;

/// Creates ES256 key sets, each with an Active key and a standby, as `name` calls them.
pub(super) async fn all(
    stack: &Stack,
    sets: usize,
    name: &(impl Fn(usize) -> String + Clone + Send + 'static),
) -> Result<(), Fault> {
    let admin = AdminClient::new(stack.admin_channel(CONNECTIONS)?);
    let name = name.clone();
    let make = move |number| {
        let (admin, name) = (admin.clone(), name.clone());
        async move {
            let spec = KeySetSpec::signing(&name(number), "ES256", 0);
            create(&admin, &spec).await
        }
    };
    each(sets, AT_ONCE, make).await
}
