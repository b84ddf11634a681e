//! The types of the functions.

use std::borrow::Cow;

use crate::ast::Node;
use crate::check::{Checked, Checker};
use crate::function::Function;
use crate::types::Object;
use crate::{Error, Type};

impl<'a> Checker<'a> {
    pub(crate) fn call(&mut self, function: Function, arguments: &'a [Node]) -> Checked<'a> {
        let ty = match function {
            Function::Size => {
                let sized = Type::String.or(Type::list(Type::Any)).or(any_object());
                self.expect_all(arguments, &sized, Some("a string, a list or an object"))?;
                Type::Int
            }
            Function::Contains | Function::StartsWith | Function::EndsWith => {
                self.expect_all(arguments, &Type::String, None)?;
                Type::Bool
            }
            Function::Lower | Function::Upper | Function::Trim => {
                self.expect_all(arguments, &Type::String, None)?;
                Type::String
            }
            Function::Int => {
                self.expect_all(arguments, &Type::Number.or(Type::String), None)?;
                Type::Int
            }
            Function::Number => {
                self.expect_all(arguments, &Type::Number.or(Type::String), None)?;
                Type::Number
            }
            Function::Text => {
                self.expect_all(arguments, &scalar(), Some("a string, a number or a bool"))?;
                Type::String
            }
            Function::Least | Function::Greatest => self.extreme(arguments)?,
            Function::Sum => self.numbers(arguments)?,
            Function::Round => {
                if let [value, digits] = arguments {
                    self.expect(value, &Type::Number)?;
                    self.expect(digits, &Type::Int)?;
                }
                Type::Number
            }
            Function::Join => {
                if let [list, separator] = arguments {
                    self.expect(list, &Type::list(Type::String))?;
                    self.expect(separator, &Type::String)?;
                }
                Type::String
            }
            Function::Keys => {
                self.expect_all(arguments, &any_object(), Some("an object"))?;
                Type::list(Type::String)
            }
        };
        Ok(Cow::Owned(ty))
    }

    fn expect_all(
        &mut self,
        arguments: &'a [Node],
        want: &Type,
        name: Option<&str>,
    ) -> Result<(), Error> {
        for argument in arguments {
            let found = self.check(argument)?;
            if !found.fits(want) {
                let expected = name.map_or_else(|| want.to_string(), str::to_owned);
                return Err(self.mismatch(argument, &expected, &found));
            }
        }
        Ok(())
    }

    /// One list of numbers.
    fn numbers(&mut self, arguments: &'a [Node]) -> Result<Type, Error> {
        let mut all = Type::never();
        for argument in arguments {
            let list = self.expect(argument, &Type::list(Type::Number))?;
            all = all.or(self.element_of(argument, &list)?);
        }
        Ok(whole_or_number(&all))
    }

    /// One list of numbers, or several numbers.
    fn extreme(&mut self, arguments: &'a [Node]) -> Result<Type, Error> {
        if arguments.len() == 1 {
            return self.numbers(arguments);
        }
        let mut all = Type::never();
        for argument in arguments {
            all = all.or(self.expect(argument, &Type::Number)?.into_owned());
        }
        Ok(whole_or_number(&all))
    }
}

/// The type of a result that is whole if all its operands are.
pub(crate) fn whole_or_number(ty: &Type) -> Type {
    match ty {
        Type::Any => Type::Number,
        ty if ty.fits(&Type::Int) => Type::Int,
        _ => Type::Number,
    }
}

/// What may stand inside of a text.
pub(crate) fn scalar() -> Type {
    Type::String.or(Type::Number).or(Type::Bool)
}

fn any_object() -> Type {
    Type::from(Object { rest: Some(std::sync::Arc::new(Type::Any)), ..Object::default() })
}
