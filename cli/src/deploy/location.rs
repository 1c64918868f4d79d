//! Where a deployment lives: the region of its database, and a place for the Worker near it.
//!
//! A Worker in front of a database on another continent waits 100 to 300 ms for each batch, and a database never moves. So
//! the region is chosen before the database is made.

use clap::ValueEnum;

/// Regions of D1, as `wrangler d1 create --location` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Location {
    /// Western North America
    Wnam,
    /// Eastern North America
    Enam,
    /// Western Europe
    Weur,
    /// Eastern Europe
    Eeur,
    /// Asia and the Pacific
    Apac,
    /// Oceania
    Oc,
}

impl Location {
    pub const ALL: [Location; 6] = [
        Location::Wnam,
        Location::Enam,
        Location::Weur,
        Location::Eeur,
        Location::Apac,
        Location::Oc,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Location::Wnam => "wnam",
            Location::Enam => "enam",
            Location::Weur => "weur",
            Location::Eeur => "eeur",
            Location::Apac => "apac",
            Location::Oc => "oc",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Location::Wnam => "Western North America",
            Location::Enam => "Eastern North America",
            Location::Weur => "Western Europe",
            Location::Eeur => "Eastern Europe",
            Location::Apac => "Asia and the Pacific",
            Location::Oc => "Oceania",
        }
    }

    /// `placement.region`: the region of a cloud that the Worker runs close to.
    pub fn placement(self) -> &'static str {
        match self {
            Location::Wnam => "aws:us-west-2",
            Location::Enam => "aws:us-east-1",
            Location::Weur => "aws:eu-west-1",
            Location::Eeur => "aws:eu-central-1",
            Location::Apac => "aws:ap-southeast-1",
            Location::Oc => "aws:ap-southeast-2",
        }
    }
}
