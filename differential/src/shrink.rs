//! Makes a program that fails as short as it can be, by leaving things out.

use serde_json::Value;

use crate::program::{Op, Program};
use crate::run::{Difference, Runner};

/// The shortest program found by leaving out operations and faults of `program`, and by making numbers smaller, that
/// still comes apart; and where.
pub fn shrink(runner: &mut Runner, program: &Program) -> Option<(Program, Difference)> {
    let mut best = program.clone();
    let mut difference = runner.run(&best).err()?;
    loop {
        let smaller = candidates(&best, difference.step)
            .into_iter()
            .find_map(|program| {
                let difference = runner.run(&program).err()?;
                Some((program, difference))
            });
        match smaller {
            Some(found) => (best, difference) = found,
            None => return Some((best, difference)),
        }
    }
}

/// Programs that are a little smaller, the smallest first.
fn candidates(program: &Program, step: usize) -> Vec<Program> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Program)| {
        let mut changed = program.clone();
        change(&mut changed);
        if changed != *program {
            all.push(changed);
        }
    };
    with(&|program| program.ops.truncate(step + 1));
    let count = program.ops.len();
    for piece in [count / 2, count / 4, 1] {
        for start in (0..count).step_by(piece.max(1)) {
            let end = count.min(start + piece);
            with(&|program| drop(program.ops.drain(start..end)));
        }
    }
    for index in 0..program.channel.faults.len() {
        with(&|program| {
            program.channel.faults.remove(index);
        });
        with(&|program| program.channel.faults[index].at /= 2);
        with(&|program| {
            let fault = &mut program.channel.faults[index];
            fault.at = fault.at.saturating_sub(1);
        });
    }
    if let Some(source) = program.channel.source {
        for (len, piece) in [
            (source.len / 2, source.piece),
            (source.len.saturating_sub(1), source.piece),
            (source.len, 0),
        ] {
            with(&|program| {
                if let Some(source) = &mut program.channel.source {
                    (source.len, source.piece) = (len, piece);
                }
            });
        }
    }
    for (index, op) in program.ops.iter().enumerate() {
        for smaller in smaller(*op) {
            with(&|program| program.ops[index] = smaller);
        }
    }
    // Half a fault's place may be before that of another.
    for program in &mut all {
        program.channel.faults.sort_by_key(|fault| fault.at);
    }
    all
}

/// The operation with one of its numbers made smaller.
fn smaller(op: Op) -> Vec<Op> {
    let Ok(value) = serde_json::to_value(op) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for part in 0..numbers(&value) {
        for change in [|_: i64| 0, |n: i64| n / 2, |n: i64| n - n.signum()] {
            let mut changed = value.clone();
            change_number(&mut changed, &mut part.clone(), &change);
            if let Ok(smaller) = serde_json::from_value(changed) {
                if smaller != op {
                    all.push(smaller);
                }
            }
        }
    }
    all
}

fn numbers(value: &Value) -> usize {
    match value {
        Value::Number(_) => 1,
        Value::Array(values) => values.iter().map(numbers).sum(),
        Value::Object(values) => values.values().map(numbers).sum(),
        _ => 0,
    }
}

/// Changes the number that comes behind `before` others.
fn change_number(value: &mut Value, before: &mut usize, change: &dyn Fn(i64) -> i64) {
    match value {
        Value::Number(number) => {
            if *before == 0 {
                if let Some(old) = number.as_i64() {
                    *number = change(old).into();
                }
            }
            *before = before.wrapping_sub(1);
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| change_number(value, before, change)),
        Value::Object(values) => values
            .values_mut()
            .for_each(|value| change_number(value, before, change)),
        _ => {}
    }
}
