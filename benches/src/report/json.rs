//! The report for programs.

use serde_json::{Value, json};

use super::{
    Report,
    ratios::{Bar, Lanes, Ratio},
    table::Row,
};
use crate::{Fault, series::Series};

pub(super) fn of(report: &Report) -> Result<String, Fault> {
    let ratios = report.ratios();
    let by_key = |value: &dyn Fn(&Ratio) -> Option<Value>| -> Value {
        let members = ratios
            .iter()
            .filter_map(|ratio| Some((ratio.definition.key.to_owned(), value(ratio)?)));
        Value::Object(members.collect())
    };
    let document = json!({
        "commit": report.commit,
        "date": report.date,
        "command": report.command,
        "machine": machine(report),
        "versions": versions(report),
        "settings": settings(report),
        "ratios": by_key(&|ratio| Some(json!(ratio.median()))),
        "reasons": by_key(&|ratio| ratio.value.as_ref().err().map(|why| json!(why))),
        "bars": by_key(&|ratio| Some(bar(ratio))),
        "failed": report.faults.iter().map(|(group, why)| json!({ "group": group, "why": why })).collect::<Vec<_>>(),
        "rows": report.table.rows().iter().map(row).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn versions(report: &Report) -> Value {
    let named = report.versions.iter();
    Value::Object(
        named
            .map(|(name, version)| (name.to_owned(), json!(version)))
            .collect(),
    )
}

fn machine(report: &Report) -> Value {
    let machine = &report.machine;
    json!({
        "cpu": machine.cpu,
        "cores": machine.cores,
        "avx512_ifma": machine.ifma,
        "kernel": machine.kernel,
        "memory_mib": machine.memory_mib,
        "lanes": match &report.lanes {
            Lanes::There => json!("crypto_mb"),
            Lanes::Missing(why) => json!(why),
        },
    })
}

fn settings(report: &Report) -> Value {
    let settings = &report.settings;
    json!({
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "callers": settings.callers,
        "batch_callers": settings.batch_callers,
        "batch": settings.batch,
        "connections": settings.connections,
        "key_sets": settings.key_sets,
    })
}

fn bar(ratio: &Ratio) -> Value {
    let (side, bar) = match ratio.definition.bar {
        Bar::AtLeast(bar) => ("at_least", bar),
        Bar::AtMost(bar) => ("at_most", bar),
    };
    let spread = ratio.value.as_ref().ok().and_then(Series::spread);
    json!({
        side: bar,
        "what": ratio.definition.what,
        "met": ratio.met(),
        "lowest": spread.map(|spread| spread.0),
        "highest": spread.map(|spread| spread.1),
    })
}

fn row(row: &Row) -> Value {
    let figures = row.figures.iter().map(|(column, series)| {
        let spread = series.spread();
        let figure = json!({
            "median": series.median(),
            "lowest": spread.map(|spread| spread.0),
            "highest": spread.map(|spread| spread.1),
            "rounds": series.rounds(),
        });
        (column.key().to_owned(), figure)
    });
    json!({
        "group": row.group,
        "who": row.who,
        "figures": Value::Object(figures.collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ratios::BAR, tests::sample};

    #[test]
    fn every_key_is_there_a_number_or_null_with_a_reason() {
        let document: Value = serde_json::from_str(&of(&sample()).unwrap()).unwrap();
        let ratios = document["ratios"].as_object().unwrap();
        assert_eq!(ratios.len(), BAR.len());
        for definition in &BAR {
            let ratio = &ratios[definition.key];
            let reason = document["reasons"].get(definition.key);
            assert_eq!(ratio.is_number(), reason.is_none(), "{}", definition.key);
            assert_eq!(ratio.is_null(), reason.is_some(), "{}", definition.key);
            assert!(document["bars"][definition.key]["what"].is_string());
        }
        assert_eq!(ratios["rs256_sign_unary_vs_aws_lc"], 2.4);
    }

    #[test]
    fn the_members_that_others_rely_on_are_there() {
        let document: Value = serde_json::from_str(&of(&sample()).unwrap()).unwrap();
        assert_eq!(document["commit"], "0123abc");
        assert_eq!(document["machine"]["avx512_ifma"], true);
        assert!(document["versions"]["aws-lc-rs"].is_string());
        assert_eq!(document["failed"][0]["group"], "growth");
        let row = &document["rows"][0];
        assert_eq!(row["group"], "rs256_sign");
        assert_eq!(row["figures"]["cpu_us"]["median"], 250.0);
        assert_eq!(row["figures"]["cpu_us"]["lowest"], 240.0);
        assert_eq!(row["figures"]["cpu_us"]["rounds"][2], 480.0);
    }
}
