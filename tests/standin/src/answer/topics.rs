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
            "two charges", "double charge", "two payments", "cobraron", "debited twice", "billed for", "billed",
            "proration", "gift card", "rechnung", "abgebucht", "remboursement", "facture", "overdraft",
            "yearly plan", "refund status", "vat number", "duplicate payment", "reembolso",
        ],
    ),
    (
        &["login", "authentication", "account_access", "access", "sign_in", "signin", "auth"],
        &[
            "login", "log in", "logging in", "logged out", "sign in", "signed out", "password", "reset link",
            "two factor", "2fa", "sso", "locked out", "account locked", "verification code", "authenticator",
            "credentials", "mfa", "cant access", "okta", "saml", "reset email", "reset mail", "reset mails",
            "me connecter", "contraseña", "réinitialisation", "passwort", "mot de", "session", "sign everyone",
            "einloggen", "anmelden", "sent you a", "reset code", "owns our", "signs me",
        ],
    ),
    (
        &["bug", "defect", "error", "technical", "technical_issue", "crash", "broken"],
        &[
            "crash", "error", "bug", "broken", "freeze", "not working", "doesnt work", "stopped working", "blank",
            "glitch", "exception", "wrong result", "corrupt", "fails", "error message", "404", "500", "stack trace",
            "missing data", "disappeared", "stuck", "unresponsive", "blank page", "nothing happens", "reproduce",
            "app closes", "app closed", "app closing", "app dies", "closes by", "shuts itself", "goes away",
            "photo upload", "upload a", "wont upload", "stürzt", "does nothing", "white screen", "day off",
            "drops all", "broke our", "hides the", "switched itself", "wrong language", "filter", "apostrophe",
            "after saving", "came back", "in place", "landscape", "someone elses", "not react", "doesnt stick",
            "times in",
        ],
    ),
    (
        &["performance", "speed", "latency", "slow"],
        &[
            "slow", "slowly", "lag", "laggy", "latency", "takes forever", "timeout", "times out", "timed out",
            "loading", "sluggish", "spinning", "seconds to", "minutes to", "performance", "speed", "response time",
            "hangs", "crawl", "memory usage", "cpu", "slowness", "slowest", "slower", "crawls", "takes over",
            "wheel spins", "all night", "gives up", "ms for", "every evening", "the evening", "after supper", "52 seconds", "length of",
            "sad cloud", "at peak", "langsam",
        ],
    ),
    (
        &["shipping", "delivery", "logistics", "shipment", "order_status"],
        &[
            "shipping", "delivery", "delivered", "package", "parcel", "tracking", "courier", "shipment", "arrive",
            "arrived", "carrier", "warehouse", "dispatched", "customs", "wrong address", "tracking number",
            "in transit", "doorstep", "order arrived", "neighbour", "never came", "carrier says", "says delivered",
            "elses order", "delivery address", "marked delivered", "colis", "paket", "paquete", "left it",
            "damaged box", "soaked", "express",
        ],
    ),
    (
        &["feature_request", "feature", "enhancement", "suggestion", "idea"],
        &[
            "feature", "feature request", "would be", "would love", "please add", "suggest", "suggestion", "wish",
            "add support", "integration", "dark mode", "export to", "it would", "could you", "roadmap",
            "enhancement", "ability to", "nice to", "any plans", "option to", "request", "can we", "csv export",
            "as csv", "dunklen modus", "wünsche mir", "darker colour", "darker color", "1 for", "magical",
            "more than", "have webhooks", "a dump", "layout", "ein wunsch", "could there", "csv file", "requires a",
            "any way",
        ],
    ),
    (
        &["cancellation", "cancel", "churn", "termination", "terminate"],
        &[
            "cancel", "cancel my", "cancellation", "unsubscribe", "close account", "close my", "delete my",
            "terminate", "end my", "stop my", "downgrade", "leaving", "switch to", "switching to", "not renew",
            "competitor", "no longer", "de baja", "kündigen", "kündigung", "résilier", "way out", "to leave",
            "stop the", "how to cancel", "hand in", "get out",
        ],
    ),
    (
        &["refund", "refunds", "return", "returns"],
        &["refund", "money back", "return", "reimburse", "refunded", "send back", "returned"],
    ),
    (
        &["positive", "satisfied", "happy", "praise", "compliment"],
        &[
            "great", "excellent", "love", "awesome", "happy", "appreciate", "amazing", "wonderful", "helpful",
            "perfect", "impressed", "fantastic", "well done", "brilliant", "delighted", "good job", "smooth",
            "keep up", "enjoy", "kudos", "lovely", "best app", "hug", "weiter so", "merci beaucoup", "a traum",
            "keep it", "grateful", "thanks for", "beautiful", "happy customer", "congratulations", "thank you",
            "to thank", "say thank",
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
            "third time", "fed up", "hopeless", "never came", "dies", "double charged", "slow slow", "frustrant",
            "ärgerlich", "poco serio", "impossible", "sloppy", "shouldnt take", "fix your", "nobody can", "dispute",
            "scam", "not come", "hasnt come", "unhelpful", "forty minutes", "gave up", "nothing works",
            "not arrived",
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
            "losing money", "payroll", "furious", "lawyer", "escalate", "double charge", "two charges",
            "debited twice", "billed for", "two payments", "cobraron", "overdraft", "dispute", "tomorrow", "exam",
            "privacy", "private", "birthday", "conference", "before the", "right away", "every photo", "all our",
            "compliance", "ended today", "rent is", "reset link", "reset mail", "museum", "whole day",
        ],
    ),
    (
        &["low", "minor", "p3", "trivial"],
        &[
            "no rush", "whenever", "minor", "nice to", "would love", "suggestion", "when you", "curious",
            "wondering", "not urgent", "small", "cosmetic", "typo", "feature request", "would be", "idea",
            "thank you", "great", "love", "just wanted", "feedback", "someday", "low priority", "question", "idea",
            "lovely", "hug", "hiring", "interview", "would suit", "vegan", "wish", "1 for", "weiter so",
            "dark mode", "dunklen modus", "curious", "keep it", "praise", "to thank",
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

/// Issues that come up everywhere, and the words that speak for them: a field
/// that asks for the issue gets the label, so that like issues read alike.
#[rustfmt::skip]
pub const ISSUES: &[(&str, &[&str])] = &[
    ("Charged twice", &[
            "charged twice", "double charge", "two charges", "debited twice", "two payments", "duplicate payment",
            "charged again", "billed twice", "plan twice", "both settled", "for both", "the two", "cobraron",
            "duplicate charge",
        ]),
    ("Refund has not arrived", &[
            "refund", "refund promised", "refund status", "money back", "refunded", "credit note", "reembolso",
            "remboursement", "not received", "late refund", "my refund",
        ]),
    ("Wrong amount charged", &["overcharged", "wrong amount", "too much", "exchange rate", "proration", "extra fee", "price went"]),
    ("Invoice is wrong or lacks details", &["invoice", "vat number", "tax line", "purchase order", "reissue", "receipt", "rechnung", "facture"]),
    ("Password reset mail does not arrive", &[
            "reset link", "reset mail", "reset mails", "reset email", "password reset", "réinitialisation",
            "contraseña", "passwort", "sent you",
        ]),
    ("Cannot sign in", &[
            "log in", "sign in", "locked out", "cant login", "login", "einloggen", "sso", "signed out",
            "account locked",
        ]),
    ("Two-factor code does not work", &["two factor", "2fa", "authenticator", "verification code", "backup code"]),
    ("App crashes on photo upload", &[
            "photo upload", "uploads a photo", "upload a", "add pics", "adding pics", "pics wont", "wont upload",
            "a photo", "every photo", "a picture", "foto upload", "photo uploads",
        ]),
    ("App crashes", &[
            "app crashes", "crash", "crashes when", "app closes", "app dies", "app closed", "shuts itself",
            "stürzt", "goes away", "force quit", "app hangs",
        ]),
    ("Something does nothing when used", &["does nothing", "nothing happens", "not react", "button does", "cant tick"]),
    ("Data is missing or wrong", &["data loss", "disappeared", "missing data", "drops all", "came back", "day off", "lost my"]),
    ("Search is slow", &[
            "search crawls", "slow search", "search gives", "search is", "search so", "evening search", "a search",
            "search timing", "finding old", "same lookup", "slowness in",
        ]),
    ("Pages load slowly", &["slow", "lag", "loads", "loading", "takes forever", "timeout", "sluggish", "laggy", "takes over"]),
    ("Marked delivered but not received", &["says delivered", "marked delivered", "tracking says", "left it", "thin air", "not here"]),
    ("Parcel is late", &["not arrived", "late", "still waiting", "in transit", "never came", "tracking", "delayed", "where is"]),
    ("Parcel arrived damaged", &["damaged", "sodden", "soaked", "crushed", "torn", "broken seal", "bent"]),
    ("Wrong item delivered", &["wrong item", "elses order", "wrong order", "somebody elses", "instead of"]),
    ("Delivery address", &["delivery address", "wrong address", "old address", "new address", "delivery adress", "old office"]),
    ("Dark mode wanted", &["dark mode", "dunklen modus", "darker colour", "darker color", "dark theme", "night mode"]),
    ("Export as CSV wanted", &["csv export", "as csv", "csv file", "export to", "csv"]),
    ("Integration wanted", &["integration", "webhooks for", "integrate with", "api for", "zapier"]),
    ("Cannot find how to cancel", &[
            "how to cancel", "i cancel", "really cancel", "cancellation", "cancel button", "unsubscribe", "way out",
            "de baja", "to unsubscribe", "looking for", "where to",
        ]),
    ("Wants to end the subscription", &["cancel my", "terminate", "close my", "close account", "stop the", "kündigen", "not renew", "end our"]),
    ("Praise", &["thank you", "to thank", "best app", "lovely", "keep it", "a hug", "weiter so", "love it"]),
];

/// Values that mean "none of the others", best first.
#[rustfmt::skip]
pub const FALLBACKS: &[&str] = &[
            "other", "others", "unknown", "unclear", "unsure", "none", "neutral", "general", "misc",
            "miscellaneous", "n_a", "not_applicable", "uncategorized", "unspecified", "medium", "normal",
            "moderate", "mixed", "p2", "no", "false",
        ];
