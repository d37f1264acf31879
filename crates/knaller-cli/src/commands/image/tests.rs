use std::time::Duration;

use images::oci::{Descriptor, Digest, ImageConfig, Manifest, media_type};
use images::store::{Image, Listed, Rootfs, Sizes};
use jiff::Timestamp;
use serde_json::json;

use super::details::ImageDetails;
use super::history::StepView;
use super::view::ImageView;
use crate::ui::{Format, inspection, list};

const MIB: u64 = 1 << 20;
const WIDTHS: [u16; 3] = [120, 80, 40];

/// An image with as much to say as those that people use have.
fn image(names: &[&str], created: Timestamp) -> Listed {
    let layer = |seed: &str, size| Descriptor::new(media_type::LAYER_GZIP, Digest::of(seed.as_bytes()), size);
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": created,
        "config": {
            "Entrypoint": ["/docker-entrypoint.sh"],
            "Cmd": ["nginx", "-g", "daemon off;"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NGINX_VERSION=1.27.4"],
            "User": "www-data:www-data",
            "WorkingDir": "/srv/www",
            "StopSignal": "SIGQUIT",
            "ExposedPorts": { "80/tcp": {}, "443/tcp": {} },
            "Volumes": { "/var/cache/nginx": {} },
            "Labels": { "org.opencontainers.image.source": "https://git.example.org/web/front.git" },
        },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(b"1"), Digest::of(b"2")] },
        "history": [
            { "created": created, "created_by": "/bin/sh -c #(nop) ADD file:0123456789abcdef in / " },
            { "created": created, "created_by": "/bin/sh -c #(nop)  ENV NGINX_VERSION=1.27.4", "empty_layer": true },
            { "created": created, "created_by": "RUN /bin/sh -c set -x && apt-get update && apt-get install --no-install-recommends -y nginx=1.27.4 && rm -rf /var/lib/apt/lists/* # buildkit" },
        ],
    });
    let config = config.to_string().into_bytes();
    let blob = Descriptor::of(media_type::CONFIG, &config);
    let layers = vec![layer("lower", 28 * MIB), layer("upper", 3 * MIB / 2)];
    let manifest = Manifest::new(blob, layers);
    let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
    let digest = Digest::of(names.len().to_string().as_bytes());
    Listed {
        image: Image {
            descriptor: Descriptor::new(media_type::MANIFEST, digest.clone(), 1000),
            digest,
            manifest,
            config: ImageConfig::parse(&config).unwrap(),
            names,
        },
        sizes: Sizes {
            blobs_unique: 3 * MIB / 2,
            blobs_shared: 28 * MIB,
            rootfs_unique: 96 * MIB,
            rootfs_shared: 0,
        },
    }
}

fn days_ago(days: u64) -> Timestamp {
    Timestamp::now() - Duration::from_secs(days * 86_400)
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// As it is shown at a terminal of each width; nothing of `all` may be cut off, and nothing is wider.
fn shown(all: &[&str], show: impl Fn(u16) -> String) -> String {
    let mut text = String::new();
    for width in WIDTHS {
        let lines = plain(&show(width));
        for line in lines.lines() {
            assert!(
                unicode_width::UnicodeWidthStr::width(line) <= width.into(),
                "{width}: {line}"
            );
        }
        let whole: String = lines.split_whitespace().collect();
        for part in all {
            let part: String = part.split_whitespace().collect();
            assert!(whole.contains(&part), "{width}: {part} is not whole in\n{lines}");
        }
        text += &format!("--- {width}\n{lines}\n");
    }
    text
}

#[test]
fn the_list_fits_any_terminal() {
    let images = [
        (
            image(&["nginx:1.27"], days_ago(3)),
            vec!["web".to_owned(), "brave-otter".to_owned()],
        ),
        (
            image(
                &["registry.example.org:5000/team/front:2026-07", "front:latest"],
                days_ago(40),
            ),
            Vec::new(),
        ),
        (image(&[], days_ago(90)), Vec::new()),
    ];
    let views: Vec<_> = images
        .iter()
        .map(|(listed, users)| ImageView::new(listed, |_| users.clone()))
        .collect();
    insta::assert_snapshot!(shown(&["nginx:1.27"], |width| {
        list(&views, Format::Table, Some(width)).unwrap()
    }));
}

#[test]
fn an_inspection_fits_any_terminal() {
    let listed = image(
        &["nginx:1.27", "nginx:latest"],
        "2026-01-02T03:04:05Z".parse().unwrap(),
    );
    let rootfs = Rootfs {
        path: "/home/me/.local/share/knaller/images/rootfs/0123456789abcdef0123456789abcdef-1.ext4".into(),
        size: 96 * MIB,
        new: false,
    };
    let details = [ImageDetails::new(&listed, Some(&rootfs), |_| {
        vec!["web".to_owned()]
    })];
    let all = [
        "nginx:latest",
        "daemon off;",
        "https://git.example.org/web/front.git",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ];
    insta::assert_snapshot!(shown(&all, |width| {
        inspection(&details, Format::Table, Some(width)).unwrap()
    }));
}

#[test]
fn a_history_fits_any_terminal() {
    let image = image(&["nginx"], days_ago(3)).image;
    let steps: Vec<_> = image.history().into_iter().map(StepView::new).collect();
    insta::assert_snapshot!(shown(&["rm -rf /var/lib/apt/lists/*"], |width| {
        list(&steps, Format::Table, Some(width)).unwrap()
    }));
}
