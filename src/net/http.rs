//! A small HTTP server for those who watch: GET and HEAD, an answer as a whole, nothing kept open.
//!
//! Promises bounds on connections, on the head of a request and on the time of all of it; a body is
//! never read. Whoever breaks them is let go without a line in the log.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::event;

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// The longest head of a request, in octets.
const HEAD_OCTETS_MAX: usize = 16 * 1024;
/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION_TIME: Duration = Duration::from_secs(15);

/// What somebody asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The path, without the query.
    pub path: String,
    /// The media types that are wanted; empty where nothing was said.
    pub accept: String,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// The whole body.
    pub body: String,
}

impl Answer {
    /// A sentence.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// Serves the socket for ever, answering each question with `answer`.
pub async fn serve<F, A>(listener: TcpListener, answer: F)
where
    F: Fn(Question) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let _ = timeout(CONNECTION_TIME, converse(stream, answer)).await;
                    drop(place);
                });
            }
            Err(error) => {
                event::trouble("the metrics socket can't accept", error);
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// One question of a connection. How it breaks off is the asker's business.
async fn converse<F, A>(stream: TcpStream, answer: F)
where
    F: Fn(Question) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let asked = question(&request).map(&answer);
        async move {
            Ok::<_, Infallible>(match asked {
                Some(answer) => response(answer.await),
                None => not_allowed(),
            })
        }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_OCTETS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// None where something is to be changed.
fn question(request: &Request<Incoming>) -> Option<Question> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let accepts = request.headers().get_all(ACCEPT).iter();
    let accepts: Vec<&str> = accepts.filter_map(|value| value.to_str().ok()).collect();
    Some(Question { path: request.uri().path().to_owned(), accept: accepts.join(",") })
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body.into()));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn not_allowed() -> Response<Full<Bytes>> {
    let mut response = response(Answer::text(405, "only GET and HEAD\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}
