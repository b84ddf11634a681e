use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    error::Error,
    event::{Totals, Witness},
    limits::{Limits, ms},
    line::{Line, Watched},
    refusal::Refusal,
    resolve::{Resolver, System},
    rules::{Book, Rules},
    secret::{NoSecrets, Secrets, Vault},
    serve::{Shared, answer},
    upstream::{Outside, Trust},
};

/// How long nothing is accepted after the system could not: it is short of something.
const PAUSE_MS: u64 = 50;

/// How many names that are taken are passed over.
const TRIES_MAX: u32 = 10_000;

/// Counts the sockets of this process: each has its own name.
static SOCKETS: AtomicU64 = AtomicU64::new(0);

/// All that a proxy needs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where its socket is made; the folder has to be there.
    pub folder: PathBuf,
    /// What may pass.
    pub rules: Rules,
    /// How much may pass at all.
    pub limits: Limits,
    /// Who is told, and who has the clock.
    pub witness: Arc<dyn Witness>,
    /// Who knows the addresses of names.
    pub resolver: Arc<dyn Resolver>,
    /// Who keeps the values that rules inject.
    pub secrets: Arc<dyn Secrets>,
    /// What certificates are checked against.
    pub trust: Trust,
}

impl Setup {
    /// With the usual limits, the machine's resolver and certificates, and no secrets.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, rules: Rules, witness: Arc<dyn Witness>) -> Self {
        Self {
            folder: folder.into(),
            rules,
            limits: Limits::default(),
            witness,
            resolver: Arc::new(System),
            secrets: Arc::new(NoSecrets),
            trust: Trust::System,
        }
    }
}

/// One way out, for one sandboxed program. When it is dropped its socket is gone and nothing is under way any more.
#[derive(Debug)]
pub struct Proxy {
    socket: Socket,
    stop: watch::Sender<()>,
    totals: Arc<Totals>,
    task: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Makes the socket and serves it, in the runtime that this is called in.
    ///
    /// # Errors
    /// A rule or limit that cannot be held, a folder that cannot be written, certificates that cannot be checked, or no
    /// runtime.
    pub fn start(setup: Setup) -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(|_| Error::Runtime)?;
        setup.limits.check()?;
        let book = Book::read(&setup.rules)?;
        let outside = Outside::new(setup.resolver, &setup.trust)?;
        let totals = Arc::new(Totals::default());
        let vault = Arc::new(Vault::new(setup.secrets, book.secrets()));
        let (limits, witness) = (setup.limits, setup.witness);
        let shared = Shared { book, limits, outside, vault, witness, totals: Arc::clone(&totals) };
        let (socket, listener) = Socket::make(&setup.folder)?;
        let (stop, stopped) = watch::channel(());
        let task = Some(runtime.spawn(accept(Arc::new(shared), listener, stopped)));
        Ok(Self { socket, stop, totals, task })
    }

    /// The socket that the program may connect to; only this user may.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket.0
    }

    /// Takes nothing new, and waits up to `stop_ms` for what is under way. What is left then is cut.
    pub async fn stop(mut self) {
        self.totals.stopping.store(true, Ordering::Relaxed);
        self.socket.remove();
        // Nobody listens when everything has ended already.
        let _ = self.stop.send(());
        if let Some(task) = self.task.as_mut() {
            let _ = task.await;
        }
        self.task = None;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.totals.stopping.store(true, Ordering::Relaxed);
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A socket's file.
#[derive(Debug)]
struct Socket(PathBuf);

impl Socket {
    /// It is made in a folder that only this user may enter, so that nobody connects before its mode is set.
    /// A process that was killed may have left names of its own, and the next one may have its number.
    fn make(folder: &Path) -> Result<(Self, UnixListener), Error> {
        let mut tries = TRIES_MAX;
        loop {
            match Self::try_make(folder) {
                Err(Error::Socket { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists && tries > 0 =>
                {
                    tries -= 1;
                }
                made => return made,
            }
        }
    }

    fn try_make(folder: &Path) -> Result<(Self, UnixListener), Error> {
        let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
        let name = format!("egress-{}-{number}", process::id());
        let (hidden, path) = (folder.join(format!(".{name}")), folder.join(format!("{name}.sock")));
        let failed = |source: io::Error| Error::Socket { path: path.clone(), source };
        fs::DirBuilder::new().mode(0o700).create(&hidden).map_err(failed)?;
        let made = Self::bind(&hidden.join("s"), &path);
        let removed = fs::remove_dir(&hidden);
        let listener = made.map_err(failed)?;
        let socket = Self(path.clone());
        removed.map_err(failed)?;
        Ok((socket, listener))
    }

    fn bind(hidden: &Path, path: &Path) -> io::Result<UnixListener> {
        let listener = UnixListener::bind(hidden)?;
        let mode = fs::Permissions::from_mode(0o600);
        // A link, unlike a new name, never takes the place of what is there.
        let placed = fs::set_permissions(hidden, mode).and_then(|()| fs::hard_link(hidden, path));
        let removed = fs::remove_file(hidden);
        placed.and(removed)?;
        Ok(listener)
    }

    fn remove(&self) {
        // It may be gone with its folder.
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Takes connections until it is told to stop. Those under way end with it.
async fn accept(shared: Arc<Shared>, listener: UnixListener, mut stop: watch::Receiver<()>) {
    let places = Arc::new(Semaphore::new(shared.limits.connections_max));
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.changed() => break,
            Some(_) = under_way.join_next() => {}
            next = next(&listener, &places) => {
                if let Some((stream, place)) = next {
                    under_way.spawn(serve(Arc::clone(&shared), stream, stop.clone(), place));
                }
            }
        }
    }
    drop(listener);
    let all = async { while under_way.join_next().await.is_some() {} };
    // What is left is cut when the set is dropped.
    let _ = timeout(ms(shared.limits.stop_ms), all).await;
    under_way.shutdown().await;
}

async fn next(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> Option<(UnixStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(_) => {
            sleep(ms(PAUSE_MS)).await;
            None
        }
    }
}

/// Serves one connection to its end, and the tunnel that it may become.
async fn serve(
    shared: Arc<Shared>,
    stream: UnixStream,
    mut stop: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
) {
    let limits = &shared.limits;
    let line = Arc::new(Line::default());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .half_close(false)
        .header_read_timeout(ms(limits.head_ms))
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max);
    let io = TokioIo::new(Watched { stream, line: Arc::clone(&line) });
    let each = service_fn(|request| answer(Arc::clone(&shared), Arc::clone(&line), request));
    let mut connection = Box::pin(http.serve_connection(io, each).with_upgrades());
    let overdue = line.overdue(ms(limits.total_ms));
    let ended = {
        let mut overdue = std::pin::pin!(overdue);
        tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = overdue.as_mut() => None,
            _ = stop.changed() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => Some(ended),
                    () = overdue => None,
                }
            }
        }
    };
    drop(connection);
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => return tell(&shared, &line, &error),
        None => return,
    }
    if let Some(tunnel) = line.take_tunnel() {
        tunnel.run(limits).await;
    }
}

/// A head that nobody could read is told, too; a connection that merely ended is not.
fn tell(shared: &Shared, line: &Line, error: &hyper::Error) {
    let refusal = match error {
        error if error.is_parse_too_large() => Refusal::Headers,
        error if error.is_parse() => Refusal::Malformed,
        error if error.is_timeout() && line.is_fresh() => Refusal::Timeout,
        _ => return,
    };
    shared.trace().refuse(refusal);
}
