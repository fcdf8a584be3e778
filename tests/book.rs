//! The book: every page has its place in it, every link of a page leads somewhere, and none of them out of the book.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    pages.sort();
    pages
}

/// Where the links of a page lead, but for other sites.
fn links(text: &str) -> Vec<String> {
    Parser::new(text)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.into_string())
            }
            _ => None,
        })
        .filter(|link| !link.contains("://"))
        .collect()
}

/// The anchors of a page: its headings in lower case, with hyphens for spaces and without punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let heading = heading.take().unwrap_or_default().to_lowercase();
                let stays = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
                anchors.insert(heading.chars().filter(stays).collect::<String>().replace(' ', "-"));
            }
            _ => {}
        }
    }
    anchors
}

#[test]
fn every_page_stands_in_the_summary_once() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let mut listed = links(&summary);
    listed.sort();
    let names = pages().into_iter().map(|page| page.file_name().unwrap().to_str().unwrap().to_owned());
    let there: Vec<String> = names.filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(listed, there);
}

#[test]
fn every_page_begins_with_its_title() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let first = Parser::new(&text).find(|event| {
            !matches!(event, Event::Html(_) | Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock))
        });
        let is_title = matches!(first, Some(Event::Start(Tag::Heading { level: HeadingLevel::H1, .. })));
        assert!(is_title, "{}: {first:?}", page.display());
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages().into_iter().chain([root().join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let leads = match anchor {
                None => target.exists(),
                Some(anchor) => {
                    std::fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor))
                }
            };
            if !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn no_link_leads_out_of_the_book() {
    let mut outside = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        // What is beside docs/ is not where the book is built to.
        let leads_out =
            |link: &String| link.starts_with('/') || link.split(['/', '#']).any(|part| part == "..");
        let links = links(&text).into_iter().filter(leads_out);
        outside.extend(links.map(|link| format!("{}: {link}", page.display())));
    }
    assert!(outside.is_empty(), "name these files in code font instead: {outside:#?}");
}
