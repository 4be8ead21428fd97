//! Who asks, and whether they may write.
//!
//! On the control socket the kernel says who the peer is: root and the user of the node may write,
//! everybody else on the machine may read. Over HTTP everybody may read; writing needs the token of
//! `[admin] token_file`, compared in equal time. Without a token file HTTP only reads.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::RwLock,
    time::Duration,
};

use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use nix::unistd::{Uid, User};
use subtle::ConstantTimeEq;

use super::error::ApiError;

/// Longest token, in octets.
const TOKEN_MAX: usize = 4096;
/// Shortest token, in octets: less can be guessed.
const TOKEN_MIN: usize = 16;
/// How long a user name may take to be found; user databases can hang.
const NAME_WAIT: Duration = Duration::from_secs(1);

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// A process on this machine, by the user id that the kernel gives.
    Socket(u32),
    /// A client over the network.
    Http(SocketAddr),
}

/// The token for writing through HTTP; read again on SIGHUP.
pub(crate) struct Token {
    file: Option<PathBuf>,
    value: RwLock<Option<Vec<u8>>>,
}

impl Token {
    /// Reads the token file, if one is named.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn read(file: Option<PathBuf>) -> Result<Self, String> {
        let value = file.as_deref().map(read_token).transpose()?;
        Ok(Self { file, value: RwLock::new(value) })
    }

    /// Reads the file again; the former token stays in force when that fails.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn reload(&self) -> Result<(), String> {
        if let Some(file) = &self.file {
            let fresh = read_token(file)?;
            *self.value.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(fresh);
        }
        Ok(())
    }

    fn allows(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let value = self.value.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(token) = value.as_deref() else {
            let text = "HTTP only reads the inventory here, because [admin] has no token_file; use the control socket";
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        };
        let given = headers.get(AUTHORIZATION).map(|v| v.as_bytes());
        let Some(given) = given.and_then(bearer) else {
            let text = "writing, and reading about access, needs the header `Authorization: Bearer TOKEN` over HTTP";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, text));
        };
        // Equal time for texts of one length; the length itself is no secret.
        match bool::from(given.ct_eq(token)) {
            true => Ok(()),
            false => Err(ApiError::new(StatusCode::UNAUTHORIZED, "the token is wrong")),
        }
    }
}

/// What follows the scheme, whose case does not count (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest.trim_ascii())
}

fn read_token(file: &Path) -> Result<Vec<u8>, String> {
    let name = file.display();
    let text = std::fs::read(file).map_err(|e| format!("token_file {name} cannot be read: {e}"))?;
    let token = text.trim_ascii();
    match token.len() {
        n if n < TOKEN_MIN => Err(format!("token_file {name} holds {n} octets; a token has at least {TOKEN_MIN}")),
        n if n > TOKEN_MAX => Err(format!("token_file {name} holds {n} octets; a token has at most {TOKEN_MAX}")),
        _ => Ok(token.to_vec()),
    }
}

impl Peer {
    /// Root or the user of the node, on this machine.
    pub(crate) fn is_operator(self) -> bool {
        matches!(self, Self::Socket(uid) if uid == 0 || uid == Uid::effective().as_raw())
    }

    /// Whether the peer may write.
    ///
    /// # Errors
    /// 401 or 403 with the remedy.
    pub(crate) fn may_write(self, token: &Token, headers: &HeaderMap) -> Result<(), ApiError> {
        match self {
            Self::Socket(_) if self.is_operator() => Ok(()),
            Self::Socket(_) => {
                let text = "only root and the user of the node may change anything; others may read";
                Err(ApiError::new(StatusCode::FORBIDDEN, text))
            }
            Self::Http(_) => token.allows(headers),
        }
    }

    /// Whether the peer may read who may come in: everybody on this machine, and holders of the token.
    ///
    /// # Errors
    /// 401 or 403 with the remedy.
    pub(crate) fn may_read_access(self, token: &Token, headers: &HeaderMap) -> Result<(), ApiError> {
        match self {
            Self::Socket(_) => Ok(()),
            Self::Http(_) => token.allows(headers),
        }
    }

    /// The name that the history keeps.
    pub(crate) async fn who(self) -> String {
        match self {
            Self::Http(from) => format!("token via http from {}", from.ip()),
            Self::Socket(uid) => {
                let find = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid)));
                match tokio::time::timeout(NAME_WAIT, find).await {
                    Ok(Ok(Ok(Some(user)))) => format!("{} via socket", user.name),
                    _ => format!("uid {uid} via socket"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_token(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
    }

    #[test]
    fn http_writes_with_the_token_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = Token::read(Some(file.clone())).unwrap();
        let peer = Peer::Http("127.0.0.1:9".parse().unwrap());
        let code = |headers: &HeaderMap| peer.may_write(&token, headers).map_err(|e| e.status.as_u16());
        assert_eq!(code(&with_token("0123456789abcdef")), Ok(()));
        assert_eq!(code(&with_token("0123456789abcdeg")), Err(401));
        assert_eq!(code(&with_token("0123456789abcde")), Err(401));
        assert_eq!(code(&HeaderMap::new()), Err(401));
        let lower = HeaderMap::from_iter([(AUTHORIZATION, "bearer 0123456789abcdef".parse().unwrap())]);
        assert_eq!(code(&lower), Ok(()));
        std::fs::write(&file, "short").unwrap();
        assert!(token.reload().unwrap_err().contains("at least 16"));
        assert_eq!(code(&with_token("0123456789abcdef")), Ok(()));
        std::fs::write(&file, "fedcba9876543210").unwrap();
        token.reload().unwrap();
        assert_eq!(code(&with_token("0123456789abcdef")), Err(401));
    }

    #[test]
    fn without_a_token_file_http_only_reads() {
        let token = Token::read(None).unwrap();
        let peer = Peer::Http("127.0.0.1:9".parse().unwrap());
        assert_eq!(peer.may_write(&token, &with_token("x")).unwrap_err().status, 403);
    }

    #[tokio::test]
    async fn the_socket_knows_its_peer() {
        let token = Token::read(None).unwrap();
        let me = Uid::effective().as_raw();
        assert!(Peer::Socket(me).may_write(&token, &HeaderMap::new()).is_ok());
        assert!(Peer::Socket(0).may_write(&token, &HeaderMap::new()).is_ok());
        let stranger = Peer::Socket(54_321);
        assert_eq!(stranger.may_write(&token, &HeaderMap::new()).unwrap_err().status, 403);
        assert_eq!(stranger.who().await, "uid 54321 via socket");
    }
}
