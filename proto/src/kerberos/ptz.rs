//! How a camera is turned, and where it looks.

use serde::{Deserialize, Serialize};

/// The longest name of a preset. ONVIF's tokens have at most 64 characters.
const PRESET_BYTES_MAX: usize = 64;

/// What a camera that turns is to do. Positions and speeds are the generic ones of ONVIF, from -1 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", content = "payload", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OnvifAction {
    /// Look there.
    AbsoluteMove {
        /// Left to right.
        x: f64,
        /// Down to up.
        y: f64,
        /// Zoom.
        z: f64,
    },
    /// Look where this preset says.
    Preset {
        /// Its token.
        preset: String,
    },
    /// Turn a little. The agent looks for a 1; all the rest is 0.
    Ptz(Step),
    /// Zoom at this speed: in above 0, out below.
    Zoom {
        /// Speed.
        zoom: f64,
    },
}

/// A step to turn by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// 0 or 1.
    pub left: u8,
    /// 0 or 1.
    pub right: u8,
    /// 0 or 1.
    pub up: u8,
    /// 0 or 1.
    pub down: u8,
    /// 1: back to the middle, whatever else is said.
    pub center: u8,
}

/// What is wrong with an [`OnvifAction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OnvifActionError {
    /// It is of another form.
    #[error(
        "is none of {{\"action\":\"ptz\",\"payload\":{{\"left\",\"right\",\"up\",\"down\",\"center\": 0 or 1}}}}, \
         \"zoom\" with {{\"zoom\"}}, \"preset\" with {{\"preset\"}}, \"absolute-move\" with {{\"x\",\"y\",\"z\"}}"
    )]
    Form,
    /// A position or speed.
    #[error("has a number below -1 or above 1")]
    Range,
    /// A step.
    #[error("has a direction that is neither 0 nor 1, or none that is 1")]
    Step,
    /// A preset.
    #[error("has a preset that is empty or longer than {PRESET_BYTES_MAX} bytes")]
    Preset,
}

impl OnvifAction {
    /// Reads it from JSON, and checks it: nobody tells what a camera makes of numbers that mean nothing.
    ///
    /// # Errors
    /// See [`OnvifActionError`].
    pub fn read(value: &serde_json::Value) -> Result<Self, OnvifActionError> {
        let action = Self::deserialize(value).map_err(|_| OnvifActionError::Form)?;
        let within = |numbers: &[f64]| numbers.iter().all(|number| (-1.0..=1.0).contains(number));
        match &action {
            Self::AbsoluteMove { x, y, z } if !within(&[*x, *y, *z]) => Err(OnvifActionError::Range),
            Self::Zoom { zoom } if !within(&[*zoom]) => Err(OnvifActionError::Range),
            Self::Preset { preset } if preset.is_empty() || preset.len() > PRESET_BYTES_MAX => {
                Err(OnvifActionError::Preset)
            }
            Self::Ptz(Step { left, right, up, down, center }) => {
                let all = [left, right, up, down, center];
                let (ones, wrong) = (all.iter().filter(|n| ***n == 1).count(), all.iter().any(|n| **n > 1));
                if wrong || ones == 0 { Err(OnvifActionError::Step) } else { Ok(action) }
            }
            _ => Ok(action),
        }
    }
}

/// Where a camera looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Position {
    /// Left to right.
    pub x: f64,
    /// Down to up.
    pub y: f64,
    /// Zoom.
    pub z: f64,
}

impl Position {
    /// Reads `x,y,z`.
    pub fn read(text: &str) -> Option<Self> {
        let mut numbers =
            text.split(',').map(|number| number.trim().parse::<f64>().ok().filter(|n| n.is_finite()));
        let position = Self { x: numbers.next()??, y: numbers.next()??, z: numbers.next()?? };
        numbers.next().is_none().then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_are_pinned() {
        for (action, form) in [
            (
                OnvifAction::AbsoluteMove { x: -1.0, y: 0.5, z: 1.0 },
                r#"{"action":"absolute-move","payload":{"x":-1.0,"y":0.5,"z":1.0}}"#,
            ),
            (OnvifAction::Preset { preset: "1".into() }, r#"{"action":"preset","payload":{"preset":"1"}}"#),
            (
                OnvifAction::Ptz(Step { left: 1, ..Step::default() }),
                r#"{"action":"ptz","payload":{"left":1,"right":0,"up":0,"down":0,"center":0}}"#,
            ),
            (OnvifAction::Zoom { zoom: 0.5 }, r#"{"action":"zoom","payload":{"zoom":0.5}}"#),
        ] {
            assert_eq!(serde_json::to_string(&action).unwrap(), form);
            assert_eq!(OnvifAction::read(&serde_json::from_str(form).unwrap()), Ok(action));
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (value, error) in [
            (json!({"action":"zoom","payload":{"zoom":1.01}}), OnvifActionError::Range),
            (json!({"action":"absolute-move","payload":{"x":0,"y":-1.01,"z":0}}), OnvifActionError::Range),
            (json!({"action":"absolute-move","payload":{"x":0,"y":0}}), OnvifActionError::Form),
            (json!({"action":"ptz","payload":{"left":2}}), OnvifActionError::Step),
            (json!({"action":"ptz","payload":{}}), OnvifActionError::Step),
            (json!({"action":"ptz","payload":{"lift":1}}), OnvifActionError::Form),
            (json!({"action":"preset","payload":{"preset":""}}), OnvifActionError::Preset),
            (json!({"action":"preset","payload":{"preset":"a".repeat(65)}}), OnvifActionError::Preset),
            (json!({"action":"reboot","payload":{}}), OnvifActionError::Form),
            (json!(null), OnvifActionError::Form),
        ] {
            assert_eq!(OnvifAction::read(&value), Err(error), "{value}");
        }
        let at_the_bound = json!({"action":"preset","payload":{"preset":"a".repeat(64)}});
        assert!(OnvifAction::read(&at_the_bound).is_ok());
    }

    #[test]
    fn a_position_is_three_numbers() {
        assert_eq!(Position::read("0.100000,-0.500000,1.000000"), Some(Position { x: 0.1, y: -0.5, z: 1.0 }));
        for text in ["", "1,2", "1,2,3,4", "1,2,x", "1,2,NaN", "1,2,inf"] {
            assert_eq!(Position::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = Position::read(&text);
        }
    }
}
