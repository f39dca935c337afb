//! From the settings to a session that is logged in and a key in it.

use cryptoki::{
    context::Pkcs11,
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
    types::AuthPin,
};
use zeroize::Zeroizing;

use super::Pkcs11Error;
use crate::{
    config::Pkcs11Key,
    seal::{KEY_LEN, random},
};

/// A PIN that a token has refused.
pub(super) struct Refused {
    serial: String,
    pin: Zeroizing<String>,
}

/// A session with the token, and its key there.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) key: ObjectHandle,
}

/// Logs in and finds the key.
pub(super) fn open(
    context: &Pkcs11,
    settings: &Pkcs11Key,
    refused: &mut Option<Refused>,
) -> Result<Opened, Pkcs11Error> {
    let (slot, info) = find_token(context, settings)?;
    let failed = |error: Error| Pkcs11Error::failed(&settings.token_label, &error);
    let session = context.open_ro_session_no_drop(slot).map_err(failed)?;
    let found = log_in(&session, &info, settings, refused)
        .and_then(|()| find_key(&session, settings))
        .and_then(|key| fits(&session, key, settings).map(|()| key));
    match found {
        Ok(key) => Ok(Opened { session, key }),
        Err(error) => {
            // What matters is why there is no key.
            let _closed = session.close();
            Err(error)
        }
    }
}

/// Makes the key: it never leaves the token in the clear, and may encrypt and decrypt.
pub(super) fn create(context: &Pkcs11, settings: &Pkcs11Key) -> Result<(), Pkcs11Error> {
    let (slot, info) = find_token(context, settings)?;
    let failed = |error: Error| Pkcs11Error::failed(&settings.token_label, &error);
    let session = context.open_rw_session(slot).map_err(failed)?;
    log_in(&session, &info, settings, &mut None)?;
    let label = Attribute::Label(settings.key_label.clone().into_bytes());
    let there = session.find_objects(std::slice::from_ref(&label));
    if !there.map_err(failed)?.is_empty() {
        return Err(Pkcs11Error::Exists(settings.key_label.clone()));
    }
    let id: [u8; 16] = random().map_err(|error| Pkcs11Error::Failed {
        token: settings.token_label.clone(),
        code: error.to_string(),
    })?;
    let template = [
        label,
        Attribute::Id(id.to_vec()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::ValueLen(32.into()),
    ];
    let made = session.generate_key(&Mechanism::AesKeyGen, &template);
    made.map(|_key| ()).map_err(failed)
}

fn find_token(context: &Pkcs11, settings: &Pkcs11Key) -> Result<(Slot, TokenInfo), Pkcs11Error> {
    let failed = |error: Error| Pkcs11Error::failed(&settings.token_label, &error);
    let slots = context.get_slots_with_token().map_err(failed)?;
    // A token that goes between two calls is one that is not there.
    let tokens = slots
        .into_iter()
        .filter_map(|slot| Some((slot, context.get_token_info(slot).ok()?)))
        .filter(|(_, info)| info.token_initialized());
    let (mut found, others): (Vec<_>, Vec<_>) =
        tokens.partition(|(_, info)| info.label() == settings.token_label);
    let count = found.len();
    match (found.pop(), count) {
        (Some(token), 1) => Ok(token),
        (None, _) => Err(Pkcs11Error::NoToken {
            label: settings.token_label.clone(),
            present: present(&others),
        }),
        _ => Err(Pkcs11Error::SeveralTokens {
            label: settings.token_label.clone(),
            count,
        }),
    }
}

fn present(tokens: &[(Slot, TokenInfo)]) -> String {
    let labels: Vec<String> = tokens
        .iter()
        .map(|(_, info)| format!("{:?}", info.label()))
        .collect();
    match labels.is_empty() {
        true => "there is none at all".to_owned(),
        false => format!("those there are {}", labels.join(", ")),
    }
}

/// A PIN that this token has refused is not tried again.
fn log_in(
    session: &Session,
    info: &TokenInfo,
    settings: &Pkcs11Key,
    refused: &mut Option<Refused>,
) -> Result<(), Pkcs11Error> {
    let label = || settings.token_label.clone();
    if !info.login_required() {
        return Ok(());
    }
    if info.user_pin_locked() || !info.user_pin_initialized() {
        return Err(Pkcs11Error::Locked(label()));
    }
    let pin = settings.pin.read().map_err(Pkcs11Error::NoPin)?;
    let known = |refused: &Refused| refused.serial == info.serial_number() && refused.pin == pin;
    if refused.as_ref().is_some_and(known) {
        return Err(Pkcs11Error::PinRefused(label()));
    }
    // Whoever starts this process again and again would lock the token with the wrong PIN.
    if info.user_pin_final_try() {
        return Err(Pkcs11Error::LastTry(label()));
    }
    match session.login(
        UserType::User,
        Some(&AuthPin::from(pin.as_str().to_owned())),
    ) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => {
            *refused = Some(Refused {
                serial: info.serial_number().to_owned(),
                pin,
            });
            Err(Pkcs11Error::PinRefused(label()))
        }
        Err(Error::Pkcs11(
            RvError::PinLocked | RvError::PinExpired | RvError::UserPinNotInitialized,
            _,
        )) => Err(Pkcs11Error::Locked(label())),
        Err(error) => Err(Pkcs11Error::failed(&settings.token_label, &error)),
    }
}

fn find_key(session: &Session, settings: &Pkcs11Key) -> Result<ObjectHandle, Pkcs11Error> {
    let label = Attribute::Label(settings.key_label.clone().into_bytes());
    let failed = |error: Error| Pkcs11Error::failed(&settings.token_label, &error);
    let secret = Attribute::Class(ObjectClass::SECRET_KEY);
    let mut found = session
        .find_objects(&[secret, label.clone()])
        .map_err(failed)?;
    let count = found.len();
    match (found.pop(), count) {
        (Some(key), 1) => Ok(key),
        (Some(_), count) => Err(Pkcs11Error::SeveralKeys {
            label: settings.key_label.clone(),
            token: settings.token_label.clone(),
            count,
        }),
        (None, _) if session.find_objects(&[label]).map_err(failed)?.is_empty() => {
            Err(Pkcs11Error::NoKey {
                label: settings.key_label.clone(),
                token: settings.token_label.clone(),
            })
        }
        (None, _) => Err(unfit(settings, "is no secret key")),
    }
}

fn unfit(settings: &Pkcs11Key, problem: &'static str) -> Pkcs11Error {
    Pkcs11Error::Unfit {
        label: settings.key_label.clone(),
        problem,
    }
}

/// Some tokens do not tell the length of a key that never leaves them; then its use shows it.
fn fits(session: &Session, key: ObjectHandle, settings: &Pkcs11Key) -> Result<(), Pkcs11Error> {
    let asked = [
        AttributeType::KeyType,
        AttributeType::ValueLen,
        AttributeType::Encrypt,
        AttributeType::Decrypt,
        AttributeType::Extractable,
    ];
    let known = session
        .get_attributes(key, &asked)
        .map_err(|error| Pkcs11Error::failed(&settings.token_label, &error))?;
    for attribute in known {
        match attribute {
            Attribute::KeyType(KeyType::AES)
            | Attribute::Encrypt(true)
            | Attribute::Decrypt(true)
            | Attribute::Extractable(false) => {}
            Attribute::KeyType(_) => return Err(unfit(settings, "is no AES key")),
            Attribute::ValueLen(len) if usize::from(len) != KEY_LEN => {
                return Err(unfit(settings, "has another length than 256 bits"));
            }
            Attribute::Encrypt(false) => return Err(unfit(settings, "may not encrypt")),
            Attribute::Decrypt(false) => return Err(unfit(settings, "may not decrypt")),
            Attribute::Extractable(true) => tracing::warn!(
                key = settings.key_label,
                "the key-encryption key may be taken out of its token"
            ),
            _ => {}
        }
    }
    Ok(())
}
