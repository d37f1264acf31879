//! `make soak-boot`: a thousand guests booted while every core is kept busy, because that is when a guest whose clock is
//! calibrated by software emulation used to hang. The load is the boots themselves: four at once for each core.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::stage::Stage;

/// How many guests boot at once on each core.
const PER_CORE: usize = 4;

/// What all the boots share.
struct Soak {
    stage: Stage,
    boots: u32,
    started: AtomicU32,
    times: Mutex<Vec<Duration>>,
}

pub(crate) fn run(boots: u32) -> Result<()> {
    let stage = Stage::new("soak")?;
    stage.import_kernel()?;
    let soak = Soak {
        stage,
        boots,
        started: AtomicU32::new(0),
        times: Mutex::default(),
    };
    let workers = PER_CORE * std::thread::available_parallelism().map_or(2, usize::from);
    println!("{boots} boots, {workers} at once");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(|| soak.worker())).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })?;
    soak.report();
    Ok(())
}

impl Soak {
    /// Boots one after another until the number is reached.
    fn worker(&self) -> Result<()> {
        loop {
            let boot = self.started.fetch_add(1, Ordering::Relaxed) + 1;
            if boot > self.boots {
                return Ok(());
            }
            let took = self
                .boot(&format!("soak-{boot}"))
                .with_context(|| format!("boot {boot} of {}", self.boots))?;
            let mut times = self
                .times
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            times.push(took);
            if times.len().is_multiple_of(50) {
                println!("{} boots, the last in {:.1} s", times.len(), took.as_secs_f64());
            }
        }
    }

    /// One guest from start to SSH and away again.
    fn boot(&self, name: &str) -> Result<Duration> {
        let start = Instant::now();
        self.knaller(&["start", name, "--detach", "--network", "none", "--memory", "128"])?;
        let took = start.elapsed();
        self.knaller(&["rm", "--force", name])?;
        Ok(took)
    }

    fn knaller(&self, arguments: &[&str]) -> Result<()> {
        let ended = self.stage.knaller(arguments).output()?;
        if !ended.status.success() {
            bail!(
                "knaller {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&ended.stderr)
            );
        }
        Ok(())
    }

    fn report(&self) {
        let mut times = self
            .times
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        times.sort();
        let at = |percent: usize| {
            times
                .get((times.len().max(1) - 1) * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        println!(
            "{} boots, none hung: median {:.2} s, 99 % {:.2} s, longest {:.2} s",
            times.len(),
            at(50).as_secs_f64(),
            at(99).as_secs_f64(),
            at(100).as_secs_f64()
        );
    }
}
