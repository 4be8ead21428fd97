//! What is wrong or unwise in `[logrelay]`.

use logrelay::{config::Config, template::Template};

use super::Notes;

const SECTION: &str = "logrelay";

/// Everything about `[logrelay]`.
pub(super) fn review(notes: &mut Notes<'_>, config: &Config) {
    for problem in logrelay::relay::review(config) {
        notes.error_in(problem.table, problem.index, problem.key, problem.text);
    }
    if config.source.is_empty() {
        notes.warn(SECTION, "source", "[logrelay] has no [[logrelay.source]]: nothing comes in");
    }
    if config.route.is_empty() && !config.source.is_empty() {
        notes.warn(SECTION, "route", "[logrelay] has no [[logrelay.route]]: what comes in goes nowhere");
    }
    for destination in &config.destination {
        if !config.route.iter().any(|route| route.to.contains(&destination.name)) {
            let text = format!("[logrelay] no route leads to the destination {:?}", destination.name);
            notes.warn(SECTION, "destination", text);
        }
    }
    for destination in &config.destination {
        let texts = [
            ("file", &destination.file),
            ("template", &destination.template),
            ("symlink", &destination.to_file.symlink),
        ];
        for (key, text) in texts {
            // What is wrong altogether is an error, and said above.
            let doubts = text.as_deref().and_then(|text| Template::parse(text).ok()).map(|template| template.doubts());
            for doubt in doubts.into_iter().flatten() {
                notes.warn(SECTION, key, format!("[logrelay] destination {}: {key}: {doubt}", destination.name));
            }
        }
    }
    for source in &config.source {
        for (key, file) in
            [("tls_cert", &source.tls_cert), ("tls_key", &source.tls_key), ("client_ca", &source.client_ca)]
        {
            if let Some(file) = file {
                notes.file("[logrelay.source]", key, file);
            }
        }
    }
}
