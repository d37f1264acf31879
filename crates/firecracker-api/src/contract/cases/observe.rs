//! Log and metrics.
//!
//! Sources: `src/vmm/src/logger/logging.rs`, `src/vmm/src/vmm_config/metrics.rs`, `src/vmm/src/logger/metrics.rs`.

use serde_json::json;

use crate::contract::Files;
use crate::contract::case::{Case, Phase, Step, put};

pub(super) const CASES: &[Case] = &[
    Case::new("logger/set, and again", Phase::NotStarted, logger),
    Case::new("logger/malformed", Phase::NotStarted, logger_malformed),
    Case::new(
        "logger/a file that cannot be made",
        Phase::NotStarted,
        logger_nowhere,
    ),
    Case::new("logger/running", Phase::Running, logger_running),
    Case::new("metrics/set once", Phase::NotStarted, metrics),
    Case::new("metrics/malformed", Phase::NotStarted, metrics_malformed),
    Case::new(
        "metrics/a file that cannot be made",
        Phase::NotStarted,
        metrics_nowhere,
    ),
    Case::new("metrics/running", Phase::Running, metrics_running).prepared(some_metrics),
];

fn logger(files: &Files) -> Vec<Step> {
    let path = format!("{}/contract-log", files.folder);
    vec![
        put(
            "/logger",
            json!({"log_path": path, "level": "dEbUg", "show_level": true, "show_log_origin": true}),
        )
        .done(),
        put("/logger", json!({"level": "Warning"})).done(),
        put("/logger", json!({"level": "Off", "module": "api"})).done(),
        put("/logger", "{}").done(),
    ]
}

fn logger_malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/logger", r#"{"level":"loud"}"#).malformed("Invalid LevelFilter at line 1 column 16"),
        put("/logger", r#"{"colour":true}"#).malformed(
            "unknown field `colour`, expected one of `log_path`, `level`, `show_level`, `show_log_origin`, `module` at \
             line 1 column 9",
        ),
        put("/logger", r#"{"show_level":"yes"}"#)
            .malformed("invalid type: string \"yes\", expected a boolean at line 1 column 19"),
    ]
}

fn logger_nowhere(files: &Files) -> Vec<Step> {
    vec![
        put(
            "/logger",
            json!({"log_path": format!("{}/contract-missing/log", files.folder)}),
        )
        .fault("Logger error: Failed to open target file: No such file or directory (os error 2)"),
    ]
}

fn logger_running(_: &Files) -> Vec<Step> {
    vec![
        put("/logger", r#"{"level":"Info"}"#).not_after_start(),
        put("/logger", r#"{"level":"loud"}"#).malformed_beginning("Invalid LevelFilter"),
    ]
}

fn some_metrics(files: &Files) -> Vec<Step> {
    let path = format!("{}/contract-metrics", files.folder);
    vec![
        put(
            "/metrics",
            json!({"metrics_path": path, "emit_id": true, "properties": {"a": "b"}}),
        )
        .done(),
    ]
}

/// Unknown fields are ignored here.
fn metrics(files: &Files) -> Vec<Step> {
    let path = format!("{}/contract-metrics", files.folder);
    vec![
        put("/metrics", json!({"metrics_path": path, "unknown": 1})).done(),
        put("/metrics", json!({"metrics_path": path})).fault(
            "Metrics error: Cannot initialize the metrics system due to bad user input: Reinitialization of metrics not \
             allowed.",
        ),
    ]
}

fn metrics_malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/metrics", "{}").malformed("missing field `metrics_path` at line 1 column 2"),
        put("/metrics", r#"{"metrics_path":"m","properties":{"a":1}}"#)
            .malformed("invalid type: integer `1`, expected a string at line 1 column 39"),
    ]
}

fn metrics_nowhere(files: &Files) -> Vec<Step> {
    vec![
        put("/metrics", json!({"metrics_path": format!("{}/contract-missing/metrics", files.folder)})).fault(
            "Metrics error: Cannot initialize the metrics system due to bad user input: No such file or directory (os \
             error 2)",
        ),
    ]
}

fn metrics_running(files: &Files) -> Vec<Step> {
    let path = format!("{}/contract-metrics", files.folder);
    vec![
        put("/metrics", json!({"metrics_path": path})).not_after_start(),
        put("/actions", r#"{"action_type":"FlushMetrics"}"#).done(),
    ]
}
