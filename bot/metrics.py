"""What a monitoring system can see. Labels are platforms and outcomes, never people, channels or words."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120)

RECEIVED = Counter(
    "banter_messages_received", "Messages handed over by adapters", ["platform", "outcome"], registry=REGISTRY
)
POSTED = Counter("banter_replies_posted", "Replies that a platform accepted", ["platform", "kind"], registry=REGISTRY)
NOT_POSTED = Counter(
    "banter_posts_failed", "Attempts to post that did not succeed", ["platform", "outcome"], registry=REGISTRY
)
POST_SECONDS = Histogram(
    "banter_post_seconds", "Time a platform took to accept one part", ["platform"], buckets=_SECONDS, registry=REGISTRY
)
REPLY_SECONDS = Histogram(
    "banter_outbox_seconds",
    "Time from a composed reply to its acceptance by the platform",
    ["platform"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
QUEUE = Gauge("banter_queue", "Turns and replies by state", ["state"], registry=REGISTRY)
WORKER_RESTARTS = Counter(
    "banter_worker_restarts", "Times the worker process had to be started anew", registry=REGISTRY
)
ADAPTER_READY = Gauge("banter_adapter_ready", "1 while the adapter hears its platform", ["platform"], registry=REGISTRY)
CONFIG_VALID = Gauge("banter_config_valid", "0 while config.yaml holds a broken edit", registry=REGISTRY)
