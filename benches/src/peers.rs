//! Whom the service is compared with. Each gets keys of the same shape, parsed once where it can do that.

pub mod josekit;
pub mod jsonwebtoken;
pub mod node;
pub mod openbao;

/// Claims as peers sign them: those of an access token, complete, since a peer adds nothing.
pub const CLAIMS: &str = r#"{"iss":"https://op.example.com","sub":"248289761001","aud":"https://api.example.com","client_id":"s6BhdRkqt3","scope":"openid profile email","auth_time":1790000000,"acr":"urn:example:loa:2","sid":"08a5019c-17e1-4977-8f42-65a12843ea02","jti":"0JP_0zmLKbe3Ee6tNyXxCQ","iat":1790000000,"exp":4102444800}"#;
/// The `aud` of these claims.
pub const AUDIENCE: &str = "https://api.example.com";
/// What peers encrypt.
pub const PAYLOAD: [u8; 400] = [b'p'; 400];
