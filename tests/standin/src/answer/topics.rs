//! Keyword lists: which words in a text speak for which value of an enum.
//!
//! A row serves every value that is one of its keys or contains one. The lists
//! are made for support tickets and reviews, and general enough to be of use
//! elsewhere; where no row fits, a value's own words decide.

/// Keys (values or parts of values), and the keywords that speak for them.
#[rustfmt::skip] // a table of words reads better wide
pub const TOPICS: &[(&[&str], &[&str])] = &[
    (
        &["billing", "payment", "payments", "invoice", "invoicing", "charges", "pricing"],
        &[
            "charge", "invoice", "billing", "bill", "refund", "payment", "charged twice", "double charged",
            "overcharged", "credit card", "subscription fee", "receipt", "vat", "price", "paid", "statement",
            "duplicate charge", "prorated", "coupon", "discount", "tax", "debited", "renewal", "auto renew",
        ],
    ),
    (
        &["login", "authentication", "account_access", "access", "sign_in", "signin", "auth"],
        &[
            "login", "log in", "logging in", "logged out", "sign in", "signed out", "password", "reset link",
            "two factor", "2fa", "sso", "locked out", "account locked", "verification code", "authenticator",
            "credentials", "mfa", "cant access", "okta", "saml", "reset email",
        ],
    ),
    (
        &["bug", "defect", "error", "technical", "technical_issue", "crash", "broken"],
        &[
            "crash", "error", "bug", "broken", "freeze", "not working", "doesnt work", "stopped working", "blank",
            "glitch", "exception", "wrong result", "corrupt", "fails", "error message", "404", "500", "stack trace",
            "missing data", "disappeared", "stuck", "unresponsive", "blank page", "nothing happens", "reproduce",
        ],
    ),
    (
        &["performance", "speed", "latency", "slow"],
        &[
            "slow", "slowly", "lag", "laggy", "latency", "takes forever", "timeout", "times out", "timed out",
            "loading", "sluggish", "spinning", "seconds to", "minutes to", "performance", "speed", "response time",
            "hangs", "crawl", "memory usage", "cpu",
        ],
    ),
    (
        &["shipping", "delivery", "logistics", "shipment", "order_status"],
        &[
            "shipping", "delivery", "delivered", "package", "parcel", "tracking", "courier", "shipment", "arrive",
            "arrived", "carrier", "warehouse", "dispatched", "customs", "wrong address", "tracking number",
            "in transit", "doorstep", "order arrived",
        ],
    ),
    (
        &["feature_request", "feature", "enhancement", "suggestion", "idea"],
        &[
            "feature", "feature request", "would be", "would love", "please add", "suggest", "suggestion", "wish",
            "add support", "integration", "dark mode", "export to", "it would", "could you", "roadmap",
            "enhancement", "ability to", "nice to", "any plans", "option to", "request",
        ],
    ),
    (
        &["cancellation", "cancel", "churn", "termination", "terminate"],
        &[
            "cancel", "cancel my", "cancellation", "unsubscribe", "close account", "close my", "delete my",
            "terminate", "end my", "stop my", "downgrade", "leaving", "switch to", "switching to", "not renew",
            "competitor", "no longer",
        ],
    ),
    (
        &["refund", "refunds", "return", "returns"],
        &["refund", "money back", "return", "reimburse", "refunded", "send back", "returned"],
    ),
    (
        &["positive", "satisfied", "happy", "praise", "compliment"],
        &[
            "great", "excellent", "love", "awesome", "happy", "pleased", "appreciate", "amazing", "wonderful",
            "helpful", "perfect", "impressed", "fantastic", "thank you", "well done", "brilliant", "delighted",
            "good job", "best", "smooth", "keep up", "enjoy", "like the", "kudos",
        ],
    ),
    (
        &["negative", "dissatisfied", "unhappy", "complaint", "angry"],
        &[
            "angry", "frustrated", "frustrating", "terrible", "awful", "unacceptable", "disappointed", "worst",
            "broken", "fail", "wrong", "never", "hate", "useless", "ridiculous", "annoying", "crash", "unhappy",
            "poor", "lost", "charged twice", "not working", "waste", "upset", "complain", "furious", "error",
            "slow", "locked", "damaged", "missing", "still", "cant", "overcharged", "stuck", "again", "nobody",
            "horrible", "bad", "cancel", "refund", "problem", "delay", "late", "late again", "impossible", "losing",
            "third time", "fed up",
        ],
    ),
    (
        &["critical", "blocker", "p0", "emergency", "severe"],
        &[
            "outage", "data loss", "production down", "emergency", "security breach", "all users",
            "completely down", "legal",
        ],
    ),
    (
        &["high", "urgent", "p1", "major", "important"],
        &[
            "urgent", "urgently", "asap", "immediately", "critical", "outage", "blocked", "blocking", "blocker",
            "deadline", "today", "emergency", "production", "right now", "cannot work", "cant work", "unacceptable",
            "locked out", "data loss", "lost", "charged twice", "as soon", "entire team", "whole team",
            "losing money", "payroll", "furious", "lawyer", "escalate",
        ],
    ),
    (
        &["low", "minor", "p3", "trivial"],
        &[
            "no rush", "whenever", "minor", "nice to", "would love", "suggestion", "when you", "curious",
            "wondering", "not urgent", "small", "cosmetic", "typo", "feature request", "would be", "idea",
            "thank you", "great", "love", "just wanted", "feedback", "someday", "low priority", "question",
        ],
    ),
    (
        &["arrival", "arrive", "timing", "estimate"],
        &[
            "arrive", "received", "come", "waiting", "when will", "how long", "locate", "track", "where is",
            "still",
        ],
    ),
    (
        &["lost", "stolen"],
        &["lost", "stolen", "stole", "steal", "missing", "left my", "cant find", "mugged", "robbed"],
    ),
    (
        &["declined", "failed", "rejected"],
        &["declined", "fail", "rejected", "refused", "denied", "didnt go", "not go", "wont"],
    ),
    (
        &["pending"],
        &["pending", "still", "processing", "waiting", "not complete"],
    ),
    (
        &["fee", "charge", "charged"],
        &["fee", "charge", "cost", "extra", "charged for", "free"],
    ),
    (
        &["twice", "duplicate"],
        &["twice", "double", "duplicate", "two times", "same transaction", "second time"],
    ),
    (
        &["recognised", "recognized", "unauthorized", "fraud", "compromised"],
        &[
            "dont recognize", "didnt make", "not mine", "unknown", "fraud", "hacked", "unauthorized", "strange",
            "suspicious", "someone else", "not recognise",
        ],
    ),
    (
        &["verify", "verification", "identity", "kyc"],
        &["verify", "verification", "identity", "prove", "proof", "id check", "identify", "passport"],
    ),
    (
        &["limits", "limit", "maximum"],
        &["limit", "maximum", "most", "how many", "how much", "cap"],
    ),
    (
        &["support", "supported", "acceptance", "compatibility"],
        &["support", "accept", "which countries", "where can", "available in", "work in", "use my"],
    ),
    (
        &["question", "inquiry", "how_to", "information"],
        &[
            "how do", "how can", "question", "what is", "can i", "is there", "where do", "possible to",
            "documentation",
        ],
    ),
    (
        &["security", "privacy"],
        &[
            "security", "hacked", "breach", "privacy", "gdpr", "phishing", "suspicious", "data leak",
            "vulnerability",
        ],
    ),
    (
        &["quality", "product"],
        &["quality", "broke", "material", "cheap", "damaged", "scratched", "faulty", "defective", "size"],
    ),
    (
        &["service", "support_quality", "customer_service"],
        &[
            "support", "agent", "representative", "rude", "response", "customer service", "chat", "phone call",
            "staff",
        ],
    ),
];

/// Values that mean "none of the others", best first.
#[rustfmt::skip]
pub const FALLBACKS: &[&str] = &[
            "other", "others", "unknown", "unclear", "unsure", "none", "neutral", "general", "misc",
            "miscellaneous", "n_a", "not_applicable", "uncategorized", "unspecified", "medium", "normal",
            "moderate", "mixed", "p2", "no", "false",
        ];
