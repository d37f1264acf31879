//! A guest's command at the user's terminal: bytes both ways, the window's size, signals. Its exit code is ours.

use std::pin::pin;

use knaller::{ExecExit, Session, SessionEvent, SessionInput};
use tokio::io::AsyncReadExt as _;

use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::terminal;
use crate::ui::Ui;

/// Bytes read from standard input at a time.
const CHUNK: usize = 32 * 1024;

/// After so many requests to end that the guest's command did not follow, we end without it.
const REQUESTS: u32 = 3;

/// What of ours the guest's command gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attach {
    /// Standard input; without it the command reads nothing.
    pub(crate) stdin: bool,
    /// The command has a terminal, and ours is at its service.
    pub(crate) tty: bool,
}

/// All signals that a guest's command gets, or is told of.
pub(crate) fn signals() -> Result<Signals, CommandError> {
    Ok(Signals::watch(&[
        Signal::HangUp,
        Signal::Interrupt,
        Signal::Quit,
        Signal::User1,
        Signal::User2,
        Signal::Terminate,
        Signal::WindowChange,
    ])?)
}

/// Stays until the command has ended.
pub(crate) async fn attach(ui: Ui, session: Session, attach: Attach) -> Result<u8, CommandError> {
    attach_with(ui, session, attach, signals()?).await
}

/// As [`attach`], with the [`signals`] that somebody has watched before: none is lost in between.
pub(crate) async fn attach_with(
    ui: Ui,
    mut session: Session,
    attach: Attach,
    mut signals: Signals,
) -> Result<u8, CommandError> {
    let raw = if attach.tty && attach.stdin {
        terminal::Raw::enter()?
    } else {
        None
    };
    let input = session.input();
    let mut pump = pin!(pump(input.clone(), attach.stdin));
    let mut pumping = true;
    let mut requests = 0;
    let exit = loop {
        tokio::select! {
            event = session.next() => match event {
                Some(SessionEvent::Stdout(bytes)) => ui.write(&bytes)?,
                Some(SessionEvent::Stderr(bytes)) => ui.write_error(&bytes)?,
                Some(SessionEvent::Exit(exit)) => break exit,
                None => break ExecExit::Lost,
            },
            read = &mut pump, if pumping => {
                pumping = false;
                read?;
            }
            signal = signals.next() => {
                // A connection that went is told by the session itself.
                let _ = pass_on(&input, signal, attach.tty).await;
                requests += u32::from(Signal::ENDINGS.contains(&signal));
                if signal == Signal::HangUp || requests >= REQUESTS {
                    return Ok(signal.exit_code());
                }
            }
        }
    };
    drop(raw);
    if exit == ExecExit::Lost {
        ui.warning("the connection was lost before the command said how it ended");
    }
    Ok(exit.code())
}

/// Standard input to the guest, to its end.
async fn pump(input: SessionInput, stdin: bool) -> Result<(), CommandError> {
    let mut keyboard = tokio::io::stdin();
    let mut buffer = vec![0; CHUNK];
    let mut left = stdin;
    while left {
        let length = keyboard.read(&mut buffer).await?;
        left = length > 0;
        if left && input.write(buffer[..length].to_vec()).await.is_err() {
            // The command closed its side: what is left has no reader.
            return Ok(());
        }
    }
    // A session that is gone needs no closing.
    let _ = input.close().await;
    Ok(())
}

async fn pass_on(input: &SessionInput, signal: Signal, tty: bool) -> knaller::Result<()> {
    match signal {
        Signal::WindowChange if tty => {
            let (columns, rows) = terminal::size();
            input.resize(columns.into(), rows.into()).await
        }
        Signal::WindowChange => Ok(()),
        signal => input.signal(signal.name()).await,
    }
}
