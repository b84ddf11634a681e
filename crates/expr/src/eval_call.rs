//! The values of the functions.

use serde_json::Value;

use crate::ast::{Arithmetic, Node};
use crate::eval::{Evaluated, Evaluator, arithmetic, check_length, number_of, wrong};
use crate::function::Function;
use crate::number::{MAX_SCALE, Num};
use crate::value::{Data, Tracked};
use crate::{Env, Error, Join};

const BAD_SCALE: &str = "rounding takes 0 to 28 digits; give a digit count in that range";

impl<'e, E: Env> Evaluator<'e, '_, E> {
    pub(crate) fn call(
        &mut self,
        function: Function,
        arguments: &'e [Node],
        node: &Node,
    ) -> Evaluated<'e, E::Label> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push((argument, self.eval(argument)?));
        }
        match (function, values.as_slice()) {
            (Function::Size, [one]) => self.size(one),
            (Function::Contains, [text, part]) => {
                self.test_text(text, part, |text, part| text.contains(part))
            }
            (Function::StartsWith, [text, part]) => {
                self.test_text(text, part, |text, part| text.starts_with(part))
            }
            (Function::EndsWith, [text, part]) => {
                self.test_text(text, part, |text, part| text.ends_with(part))
            }
            (Function::Lower, [one]) => self.map_text(one, str::to_lowercase),
            (Function::Upper, [one]) => self.map_text(one, str::to_uppercase),
            (Function::Trim, [one]) => self.map_text(one, |text| text.trim().to_owned()),
            (Function::Int, [one]) => self.whole(one),
            (Function::Number, [one]) => {
                let label = self.label(&one.1, one.0)?;
                let number = self.read_number(one)?;
                Ok(Tracked::computed(Data::Num(number), label))
            }
            (Function::Text, [(at, value)]) => {
                let label = self.label(value, at)?;
                let text = self.show(at, value)?;
                Ok(Tracked::computed(Data::text(text), label))
            }
            (Function::Least, values) => self.extreme(values, node, std::cmp::Ordering::Less),
            (Function::Greatest, values) => self.extreme(values, node, std::cmp::Ordering::Greater),
            (Function::Sum, [one]) => self.sum(one),
            (Function::Round, [value, digits]) => self.round(value, digits),
            (Function::Join, [list, separator]) => self.join(list, separator),
            (Function::Keys, [one]) => self.keys(one),
            // The parser counts arguments, so this is only for a tree that it did not build.
            (_, _) => {
                Err(Error::Syntax { at: node.at, message: "wrong number of arguments".to_owned() })
            }
        }
    }

    fn size(&mut self, (node, value): &Argument<'e, E>) -> Evaluated<'e, E::Label> {
        let label = self.shape_label(value, node)?;
        let wanted = "a string, a list or an object";
        let size = value.data.size();
        let size = size.ok_or_else(|| wrong(node, wanted, &value.data))?;
        self.pay_text(value.data.as_text().map_or(0, str::len), node)?;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        Ok(Tracked::computed(Data::Num(Num::Int(size)), label))
    }

    fn test_text(
        &mut self,
        (text_node, text): &Argument<'e, E>,
        (part_node, part): &Argument<'e, E>,
        test: fn(&str, &str) -> bool,
    ) -> Evaluated<'e, E::Label> {
        let label = self.label(text, text_node)?;
        let label = label.join(&self.label(part, part_node)?);
        let text = self.text_of(text_node, text)?;
        let part = self.text_of(part_node, part)?;
        self.pay_text(text.len().saturating_add(part.len()), text_node)?;
        Ok(Tracked::computed(Data::Bool(test(text, part)), label))
    }

    fn map_text(
        &mut self,
        (node, value): &Argument<'e, E>,
        map: fn(&str) -> String,
    ) -> Evaluated<'e, E::Label> {
        let label = self.label(value, node)?;
        let text = self.text_of(node, value)?;
        self.pay_text(text.len(), node)?;
        Ok(Tracked::computed(Data::text(map(text)), label))
    }

    fn read_number(&mut self, (node, value): &Argument<'e, E>) -> Result<Num, Error> {
        let Some(text) = value.data.as_text() else {
            return number_of(node, value);
        };
        self.pay_text(text.len(), node)?;
        Num::parse(text.trim())
            .ok_or(Error::Convert { at: node.at, wanted: "a decimal number of at most 28 digits" })
    }

    fn whole(&mut self, argument: &Argument<'e, E>) -> Evaluated<'e, E::Label> {
        let (node, value) = argument;
        let label = self.label(value, node)?;
        let number = self.read_number(argument)?;
        let whole = match (value.data.as_text(), number) {
            (Some(_), Num::Dec(_)) => {
                Err(Error::Convert { at: node.at, wanted: "a whole number of 64 bits" })
            }
            (_, number) => number.truncate().map_err(|reason| arithmetic(node, reason)),
        };
        Ok(Tracked::computed(Data::Num(whole?), label))
    }

    /// The text of an expression within text.
    pub(crate) fn text(&mut self, node: &'e Node) -> Result<(String, E::Label), Error> {
        let value = self.eval(node)?;
        let label = self.label(&value, node)?;
        Ok((self.show(node, &value)?, label))
    }

    /// The text of a scalar other than null.
    pub(crate) fn show(
        &mut self,
        node: &Node,
        value: &Tracked<'e, E::Label>,
    ) -> Result<String, Error> {
        if let Some(text) = value.data.as_text() {
            self.pay_text(text.len(), node)?;
            return Ok(text.to_owned());
        }
        if let Some(truth) = value.data.as_bool() {
            return Ok(truth.to_string());
        }
        if value.data.is_number() {
            return Ok(number_of(node, value)?.to_string());
        }
        Err(wrong(node, "a string, a number or a bool", &value.data))
    }

    /// Numbers from several arguments, or from the one list.
    fn numbers(&mut self, arguments: &[Argument<'e, E>]) -> Result<(Vec<Num>, E::Label), Error> {
        let mut label = E::Label::bottom();
        let mut numbers = Vec::new();
        if let [(node, list)] = arguments {
            label = self.shape_label(list, node)?;
            for item in self.items(list, node)? {
                label = label.join(&self.label(&item, node)?);
                numbers.push(number_of(node, &item)?);
            }
            return Ok((numbers, label));
        }
        for (node, value) in arguments {
            label = label.join(&self.label(value, node)?);
            numbers.push(number_of(node, value)?);
        }
        Ok((numbers, label))
    }

    fn extreme(
        &mut self,
        arguments: &[Argument<'e, E>],
        node: &Node,
        wanted: std::cmp::Ordering,
    ) -> Evaluated<'e, E::Label> {
        let (numbers, label) = self.numbers(arguments)?;
        let best = numbers
            .into_iter()
            .reduce(|best, one| if one.order(best) == wanted { one } else { best });
        let best = best.ok_or(Error::NoElement { at: node.at })?;
        Ok(Tracked::computed(Data::Num(best), label))
    }

    fn sum(&mut self, list: &Argument<'e, E>) -> Evaluated<'e, E::Label> {
        let (numbers, label) = self.numbers(std::slice::from_ref(list))?;
        let mut total = Num::Int(0);
        for number in numbers {
            total = total
                .apply(Arithmetic::Add, number)
                .map_err(|reason| arithmetic(list.0, reason))?;
        }
        Ok(Tracked::computed(Data::Num(total), label))
    }

    fn round(
        &mut self,
        (node, value): &Argument<'e, E>,
        (digits_node, digits): &Argument<'e, E>,
    ) -> Evaluated<'e, E::Label> {
        let label = self.label(value, node)?;
        let label = label.join(&self.label(digits, digits_node)?);
        let scale = match number_of(digits_node, digits)? {
            Num::Int(scale) => u32::try_from(scale).ok().filter(|s| *s <= MAX_SCALE),
            Num::Dec(_) => None,
        };
        let scale = scale.ok_or_else(|| arithmetic(digits_node, BAD_SCALE))?;
        let rounded = number_of(node, value)?.round(scale);
        Ok(Tracked::computed(Data::Num(rounded), label))
    }

    fn join(
        &mut self,
        (node, list): &Argument<'e, E>,
        (separator_node, separator): &Argument<'e, E>,
    ) -> Evaluated<'e, E::Label> {
        let mut label = self.label(separator, separator_node)?;
        label = label.join(&self.shape_label(list, node)?);
        let separator = self.text_of(separator_node, separator)?;
        let mut text = String::new();
        for (index, item) in self.items(list, node)?.iter().enumerate() {
            label = label.join(&self.label(item, node)?);
            let part = self.text_of(node, item)?;
            self.pay_text(part.len().saturating_add(separator.len()), node)?;
            if index > 0 {
                text.push_str(separator);
            }
            text.push_str(part);
        }
        Ok(Tracked::computed(Data::text(text), label))
    }

    /// The names of the fields, sorted.
    fn keys(&mut self, (node, value): &Argument<'e, E>) -> Evaluated<'e, E::Label> {
        let label = self.shape_label(value, node)?;
        let mut names: Vec<&'e str> = match &value.data {
            Data::Json(Value::Object(fields)) => fields.keys().map(String::as_str).collect(),
            Data::Map(entries) => entries.iter().map(|(key, _)| *key).collect(),
            data => return Err(wrong(node, "an object", data)),
        };
        check_length(names.len(), node)?;
        self.pay(names.len(), node)?;
        names.sort_unstable();
        let names = names.into_iter().map(Data::Borrowed);
        let names: Vec<_> = names.map(Tracked::constant).collect();
        Ok(Tracked::computed(Data::List(names.into()), label))
    }
}

type Argument<'e, E> = (&'e Node, Tracked<'e, <E as Env>::Label>);
