use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;

const PLANTED: u32 = u32::MAX;

type Feed = mpsc::UnboundedSender<Result<u32, Status>>;

/// Answers each number with itself, even ones at once and odd ones when the gate opens. [`PLANTED`] panics.
#[derive(Clone)]
struct Echo {
    gate: Arc<Semaphore>,
    waves: mpsc::UnboundedSender<usize>,
    expired: bool,
}

impl Work for Echo {
    type Request = u32;
    type Answer = u32;

    fn admits(&self) -> Result<(), Status> {
        if self.expired {
            return Err(Status::unauthenticated("expired"));
        }
        Ok(())
    }

    fn run(
        &self,
        wave: Vec<u32>,
        answers: Answers<u32>,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.waves.send(wave.len()).unwrap();
        let gate = Arc::clone(&self.gate);
        async move {
            assert!(!wave.contains(&PLANTED), "planted");
            let (even, odd): (Vec<_>, Vec<_>) = wave.into_iter().partition(|n| n % 2 == 0);
            answers.send(even);
            if !odd.is_empty() {
                let _open = gate.acquire().await;
                answers.send(odd);
            }
        }
    }
}

/// A stream, its feed, the gate of its work and the sizes of its waves.
struct Rig {
    feed: Feed,
    gate: Arc<Semaphore>,
    waves: mpsc::UnboundedReceiver<usize>,
    shutdown: Shutdown,
    answers: BoxStream<u32>,
}

fn rig(expired: bool) -> Rig {
    let (feed, messages) = mpsc::unbounded_channel();
    let (sizes, waves) = mpsc::unbounded_channel();
    let (gate, shutdown) = (Arc::new(Semaphore::new(0)), Shutdown::new());
    let work = Echo {
        gate: Arc::clone(&gate),
        waves: sizes,
        expired,
    };
    let answers = serve(UnboundedReceiverStream::new(messages), work, &shutdown);
    Rig {
        feed,
        gate,
        waves,
        shutdown,
        answers,
    }
}

impl Rig {
    fn send(&self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.feed.send(Ok(number)).unwrap();
        }
    }

    fn open(&self) {
        self.gate.close();
    }

    async fn next(&mut self) -> Option<Result<u32, Code>> {
        // The timer first: it must not be what wakes the stream.
        let next = tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_secs(5)) => panic!("no answer in time"),
            next = self.answers.next() => next,
        };
        next.map(|answer| answer.map_err(|status| status.code()))
    }

    async fn rest(&mut self) -> Vec<Result<u32, Code>> {
        let mut rest = Vec::new();
        while let Some(answer) = self.next().await {
            rest.push(answer);
        }
        rest
    }

    /// Waits until nobody but so many holds the gate: the rig, the stream, its work.
    async fn work_ends(&self, holders: usize) {
        let gone = async {
            while Arc::strong_count(&self.gate) > holders {
                tokio::task::yield_now().await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(5), gone);
        gone.await.expect("the work ends");
    }

    /// Gives the stream time to do all that it can without an answer.
    async fn silent(&mut self) {
        let short = Duration::from_millis(50);
        let nothing = tokio::time::timeout(short, self.answers.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }
}

#[tokio::test]
async fn what_is_there_is_one_wave_and_answers_come_as_they_are_made() {
    let mut rig = rig(false);
    rig.send([1, 2, 3, 4]);
    assert_eq!(rig.next().await, Some(Ok(2)));
    assert_eq!(rig.next().await, Some(Ok(4)));
    assert_eq!(rig.waves.recv().await, Some(4));
    rig.send([6]);
    assert_eq!(rig.next().await, Some(Ok(6)));
    assert_eq!(rig.waves.recv().await, Some(1));
    rig.open();
    assert_eq!(rig.next().await, Some(Ok(1)));
    assert_eq!(rig.next().await, Some(Ok(3)));
    drop(rig.feed);
    let mut answers = rig.answers;
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn no_more_is_read_than_may_be_in_work() {
    let mut rig = rig(false);
    rig.send((0..1000).map(|n| 2 * n + 1));
    rig.silent().await;
    let mut read = 0;
    while let Ok(wave) = rig.waves.try_recv() {
        assert!(wave <= LARGEST_WAVE, "{wave}");
        read += wave;
    }
    assert_eq!(read, MOST_IN_WORK);
    rig.open();
    let (feed, _) = mpsc::unbounded_channel();
    drop(std::mem::replace(&mut rig.feed, feed));
    let answered = rig.rest().await;
    assert_eq!(answered.len(), 1000);
    assert!(answered.iter().all(Result::is_ok));
}

#[tokio::test]
async fn answers_that_nobody_fetches_hold_the_reading_back() {
    let mut rig = rig(false);
    rig.send((0..1000).map(|n| 2 * n));
    assert_eq!(rig.next().await, Some(Ok(0)));
    // Nothing polls the stream now; what is fetched later makes room for the rest.
    let mut read = 0;
    while let Ok(wave) = rig.waves.try_recv() {
        read += wave;
    }
    assert!(read <= MOST_IN_WORK, "{read}");
    let (feed, _) = mpsc::unbounded_channel();
    drop(std::mem::replace(&mut rig.feed, feed));
    assert_eq!(rig.rest().await.len(), 999);
}

#[tokio::test]
async fn a_drain_answers_what_is_in_work_and_reads_no_more() {
    let mut rig = rig(false);
    rig.send([1]);
    rig.silent().await;
    rig.shutdown.trigger();
    rig.send([2]);
    rig.silent().await;
    rig.open();
    assert_eq!(rig.rest().await, [Ok(1), Err(Code::Unavailable)]);
}

#[tokio::test]
async fn a_caller_whose_certificate_expired_is_not_served_any_more() {
    let mut rig = rig(true);
    rig.send([2]);
    assert_eq!(rig.rest().await, [Err(Code::Unauthenticated)]);
}

#[tokio::test]
async fn an_unreadable_message_ends_the_stream_and_drops_what_is_in_work() {
    for (status, code) in [
        (Status::internal("cut"), Code::Internal),
        (Status::out_of_range("large"), Code::ResourceExhausted),
    ] {
        let mut rig = rig(false);
        rig.send([1, 3]);
        rig.silent().await;
        rig.feed.send(Err(status)).unwrap();
        assert_eq!(rig.rest().await, [Err(code)]);
        rig.work_ends(2).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_drops_what_is_in_work() {
    let mut rig = rig(false);
    rig.send([1, 3]);
    rig.silent().await;
    assert_eq!(Arc::strong_count(&rig.gate), 3);
    drop(rig.answers);
    let gone = async {
        while Arc::strong_count(&rig.gate) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn work_that_panics_ends_the_stream() {
    let mut rig = rig(false);
    rig.send([PLANTED]);
    assert_eq!(rig.rest().await, [Err(Code::Internal)]);
}
