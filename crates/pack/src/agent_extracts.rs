//! Reads `extracts:` of an agent: questions that may be asked about results that it does not see.

use kernel::extract::{
    AnswerType, Extract, NUMBER_MAX, QUESTION_MAX_BYTES, QUESTIONS_MAX, WORD_MAX_BYTES, WORDS_MAX,
};

use crate::{
    read::{Fields, Reader},
    yaml::{Kind, Node},
};

const PLAIN: [(&str, AnswerType); 2] =
    [("boolean", AnswerType::Boolean), ("date", AnswerType::Date)];

const TYPES_FIX: &str =
    "write `boolean`, `date`, `{one_of: [a, b]}` or `{number: {min: 0, max: 9}}`";

pub(crate) fn read_extracts(node: &Node, reader: Reader<'_>) -> Vec<Extract> {
    let entries = reader.entries(node, "extracts");
    if entries.len() > QUESTIONS_MAX {
        let message = format!("more than {QUESTIONS_MAX} questions");
        reader.wrong(node.place, message, "leave some out: each answer tells something");
    }
    let mut extracts = Vec::new();
    for (key, node) in entries {
        let named = reader.check_name(&key.name, key.place, "the name of a question");
        let Some(mut fields) = reader.fields(node, "a question") else { continue };
        let ask = read_question(&mut fields);
        let answer = fields.need("as").and_then(|node| read_type(node, reader));
        fields.done();
        if let (true, Some(answer)) = (named, answer) {
            extracts.push(Extract { name: key.name.clone(), ask, answer });
        }
    }
    extracts
}

fn read_question(fields: &mut Fields<'_, '_>) -> String {
    let place = fields.place;
    let ask = fields.need_text("ask");
    if ask.len() > QUESTION_MAX_BYTES {
        let message = format!("`ask` is longer than {QUESTION_MAX_BYTES} bytes");
        fields.reader.wrong(place, message, "ask for one thing");
    }
    if ask.contains("${{") {
        let message = "a question is fixed text: what it held could steer its answer";
        fields.reader.wrong(place, message, "write the question without `${{ }}`");
    }
    ask
}

fn read_type(node: &Node, reader: Reader<'_>) -> Option<AnswerType> {
    match &node.kind {
        Kind::Text(text) => {
            let plain = PLAIN.iter().find(|(name, _)| *name == text.value);
            if plain.is_none() {
                let told = crate::read::cut(&text.value);
                reader.wrong(node.place, format!("`{told}` is no type of an answer"), TYPES_FIX);
            }
            plain.map(|(_, answer)| answer.clone())
        }
        Kind::Map(_) => {
            let mut fields = reader.fields(node, "as")?;
            let words = fields.get("one_of").map(|node| read_words(node, reader));
            let number = fields.get("number").map(|node| read_number(node, reader));
            fields.done();
            match (words, number) {
                (Some(words), None) => words,
                (None, Some(number)) => number,
                _ => {
                    reader.wrong(node.place, "an answer has one type", TYPES_FIX);
                    None
                }
            }
        }
        _ => {
            reader.wrong(node.place, "free text would bring its author's words", TYPES_FIX);
            None
        }
    }
}

fn read_words(node: &Node, reader: Reader<'_>) -> Option<AnswerType> {
    let words = reader.texts(node, "one_of");
    if !(2..=WORDS_MAX).contains(&words.len()) {
        let message = format!("`one_of` has {} words, not 2 to {WORDS_MAX}", words.len());
        reader.wrong(node.place, message, "name the few answers that make a difference");
        return None;
    }
    for (index, word) in words.iter().enumerate() {
        let twice = words.iter().take(index).any(|other| other == word);
        if word.is_empty() || word.len() > WORD_MAX_BYTES || twice {
            let message = format!("`{}` is no word of its own", crate::read::cut(word));
            let fix = format!("use different words of 1 to {WORD_MAX_BYTES} bytes");
            reader.wrong(node.place, message, fix);
            return None;
        }
    }
    Some(AnswerType::OneOf { words })
}

fn read_number(node: &Node, reader: Reader<'_>) -> Option<AnswerType> {
    let mut fields = reader.fields(node, "number")?;
    let mut bound = |name: &'static str| {
        let node = fields.need(name)?;
        reader.integer(node, name, -NUMBER_MAX..=NUMBER_MAX)
    };
    let (min, max) = (bound("min"), bound("max"));
    fields.done();
    let (min, max) = (min?, max?);
    if min >= max {
        reader.wrong(node.place, "`min` must be less than `max`", "correct one of them");
        return None;
    }
    Some(AnswerType::Number { min, max })
}
