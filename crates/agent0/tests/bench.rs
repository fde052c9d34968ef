//! `agent0 bench` on a tiny model: what it says, not how fast it is.

use std::process::Command;

use serde_json::Value;

/// The JSON object on the last line of what `agent0 bench` says about a tiny random model.
fn bench(args: &[&str]) -> Value {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent0-lm/tests/fixtures/tiny-qwen2.gguf");
    let output = Command::new(env!("CARGO_BIN_EXE_agent0")).arg("bench").args(args).args(["--json", "--model", model]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}\n{stdout}\n{stderr}"))
}

/// That every one of these is a finite number above zero (zero, for a stage that may take no measurable time).
fn assert_figures(object: &Value, fields: &[&str]) {
    for field in fields {
        let least = if field.ends_with("_s") && !field.ends_with("_per_s") { 0.0 } else { f64::MIN_POSITIVE };
        assert!(object[field].as_f64().is_some_and(|x| x >= least), "{field} of {object}");
    }
}

#[test]
fn the_engine_is_measured_in_all_its_parts() {
    let result = bench(&["engine", "--dtype", "bf16", "--batch", "1,4", "--prompt", "20", "--new", "6", "--group", "2", "--train", "2x24"]);
    assert_figures(&result["roofline"], &["bf16_gflops", "f32_gflops", "int8_gops", "read_gbps", "copy_gbps"]);
    assert_figures(&result, &["threads", "rank", "load_s"]);
    assert_eq!(result["dtype"], "bf16");
    assert!(result["model"].is_string() && result["isa"].is_string() && result["peak_rss_is_of"].is_string());

    let products = result["gemm"].as_array().unwrap();
    assert_eq!(products.len(), 5 * 5, "five layers, five numbers of rows");
    products.iter().for_each(|p| assert_figures(p, &["m", "n", "k", "gflops", "share_of_peak", "weights_gbps"]));

    let sample = result["sample"].as_array().unwrap();
    let sizes: Vec<_> = sample.iter().map(|p| (p["batch"].as_u64(), p["group"].as_u64())).collect();
    assert_eq!(sizes, [(Some(1), Some(1)), (Some(4), Some(2))]);
    for point in sample {
        assert_eq!((point["prompt_tokens"].as_u64(), point["new_tokens"].as_u64()), (Some(20), Some(6)));
        assert_figures(point, &["tokens_per_s", "prefill_s", "share_of_roofline", "peak_rss_bytes"]);
    }
    // A model this small may end the first group before the second arrives: then no step decoded all four.
    let decoding = ["decode_tokens_per_s", "decode_share_of_roofline"];
    assert_figures(&sample[0], &decoding);
    if decoding.iter().any(|field| !sample[1][field].is_null()) {
        assert_figures(&sample[1], &decoding);
    }

    let train = result["train"].as_array().unwrap();
    assert_eq!((train.len(), train[0]["sequences"].as_u64(), train[0]["tokens"].as_u64()), (1, Some(2), Some(24)));
    assert_figures(&train[0], &["tokens_per_s", "forward_s", "head_s", "backward_s", "optimizer_s"]);
    assert_figures(&train[0], &["peak_rss_bytes", "share_of_roofline"]);
}

#[test]
fn one_part_can_be_measured_alone() {
    let result = bench(&["engine", "--only", "sample", "--batch", "2", "--prompt", "8", "--new", "4", "--base", "--isa", "portable"]);
    assert_eq!(result["isa"], "portable");
    let count = |part: &str| result[part].as_array().unwrap().len();
    assert_eq!((count("gemm"), count("sample"), count("train")), (0, 1, 0));
    let machine = bench(&["engine", "--only", "roofline"]);
    assert!(machine["roofline"].is_object() && machine.get("model").is_none());
}

#[test]
fn growth_is_fitted() {
    let result = bench(&["growth", "--threads", "1,2", "--batch", "1,2", "--context", "16,32", "--sequences", "1,2"]);
    let series = result["growth"].as_array().unwrap();
    let against: Vec<&str> = series.iter().map(|s| s["against"].as_str().unwrap()).collect();
    let context = "tokens of context";
    assert_eq!(against, ["threads", "threads", "sequences", context, context, "sequences", context]);
    for one in series {
        assert_eq!(one["points"].as_array().unwrap().len(), 2, "{one}");
        assert!(one["work"].is_string() && one["time_exponent"].is_f64(), "{one}");
        one["points"].as_array().unwrap().iter().for_each(|p| assert_figures(p, &["size", "seconds", "peak_rss_bytes"]));
    }
}
