//! What Cedar would accept or only warn about, and a person meant otherwise: names with typos.

use cedar_policy::pst::{
    ActionConstraint, BinaryOp, EntityOrSlot, EntityType, EntityUID, Expr, Literal,
    PrincipalConstraint, ResourceConstraint, Var,
};

use crate::{
    rule::Rule,
    schema::{Model, Vocabulary},
    shape::Shape,
    source::Problem,
    syntax::{self, Path, Seen},
    typo,
};

/// Checks one rule; at most one problem of each sort is reported.
pub(crate) fn rule(rule: &Rule, vocabulary: &Vocabulary, problems: &mut Vec<Problem>) {
    let mut concerned: Vec<&Model> =
        vocabulary.actions.values().filter(|m| rule.concerns(m)).collect();
    let is_idle = concerned.is_empty();
    if is_idle {
        concerned = vocabulary.actions.values().collect();
    }
    let mut check = Check { rule, vocabulary, concerned, is_idle, problems };
    check.scope();
    for clause in rule.tree.clauses() {
        syntax::walk(syntax::body(clause), &mut |seen| match seen {
            Seen::Path(path) => check.path(&path),
            Seen::Has(path) => check.path(&path),
            Seen::Node(expr) => check.node(expr),
        });
    }
    check.transforms();
}

/// Whether everything its action scope names is a group.
pub(crate) fn names_only_groups(rule: &Rule, vocabulary: &Vocabulary) -> bool {
    match &rule.tree.action {
        ActionConstraint::In(uids) => {
            uids.iter().all(|uid| vocabulary.groups.contains(uid.eid.as_str()))
        }
        ActionConstraint::Any => vocabulary.actions.is_empty(),
        ActionConstraint::Eq(_) => false,
    }
}

struct Check<'c> {
    rule: &'c Rule,
    vocabulary: &'c Vocabulary,
    /// The actions its scope can match; every action where it matches none, such as an empty group.
    concerned: Vec<&'c Model>,
    /// Whether its scope matches none: then only what all actions share can be checked.
    is_idle: bool,
    problems: &'c mut Vec<Problem>,
}

impl Check<'_> {
    fn report(&mut self, offset: Option<usize>, message: String, help: String) {
        self.problems.push(self.rule.problem(offset, message, help));
    }

    fn scope(&mut self) {
        let rule = self.rule;
        match &rule.tree.principal {
            PrincipalConstraint::Any => {}
            PrincipalConstraint::Eq(EntityOrSlot::Entity(uid))
            | PrincipalConstraint::In(EntityOrSlot::Entity(uid)) => self.uid(uid),
            PrincipalConstraint::Is(kind) => self.kind(kind),
            PrincipalConstraint::IsIn(kind, within) => self.kind_within(kind, within),
            PrincipalConstraint::Eq(_) | PrincipalConstraint::In(_) => {}
        }
        match &rule.tree.action {
            ActionConstraint::Any => {}
            ActionConstraint::Eq(uid) => {
                self.uid(uid);
                self.no_group(uid);
            }
            ActionConstraint::In(uids) => uids.iter().for_each(|uid| self.uid(uid)),
        }
        match &rule.tree.resource {
            ResourceConstraint::Any => {}
            ResourceConstraint::Eq(EntityOrSlot::Entity(uid))
            | ResourceConstraint::In(EntityOrSlot::Entity(uid)) => self.uid(uid),
            ResourceConstraint::Is(kind) => self.kind(kind),
            ResourceConstraint::IsIn(kind, within) => self.kind_within(kind, within),
            ResourceConstraint::Eq(_) | ResourceConstraint::In(_) => {}
        }
    }

    fn kind_within(&mut self, kind: &EntityType, within: &EntityOrSlot) {
        self.kind(kind);
        if let EntityOrSlot::Entity(uid) = within {
            self.uid(uid);
        }
    }

    fn kind(&mut self, kind: &EntityType) {
        let name = kind.to_string();
        if !self.vocabulary.types().any(|known| known == name) {
            let vocabulary = self.vocabulary;
            let last = name.rsplit("::").next().unwrap_or(&name);
            let offset = syntax::find_word(self.rule.text(), last);
            let help = typo::hint(&name, vocabulary.types());
            self.report(offset, format!("there is no entity type `{name}`"), help);
        }
    }

    fn uid(&mut self, uid: &EntityUID) {
        let kind = uid.ty.to_string();
        let (vocabulary, eid) = (self.vocabulary, uid.eid.as_str());
        let offset = syntax::find_word(self.rule.text(), eid);
        match kind.as_str() {
            "Action" => {
                let actions = vocabulary.actions.keys().map(kernel::id::OperationId::as_str);
                let known: Vec<&str> =
                    actions.chain(vocabulary.groups.iter().map(String::as_str)).collect();
                if !known.contains(&eid) {
                    let message = format!("there is no operation or group `{eid}`");
                    self.report(offset, message, typo::hint(eid, known));
                }
            }
            "System" if !vocabulary.systems.contains(eid) => {
                let known = vocabulary.systems.iter().map(String::as_str);
                let help = typo::hint(eid, known);
                self.report(offset, format!("there is no connector `{eid}`"), help);
            }
            _ => self.kind(&uid.ty),
        }
    }

    /// `==` with a group never matches: an action is in a group, it is none.
    fn no_group(&mut self, uid: &EntityUID) {
        let eid = uid.eid.as_str();
        if uid.ty.to_string() == "Action" && self.vocabulary.groups.contains(eid) {
            let offset = syntax::find_word(self.rule.text(), eid);
            let help = format!("write `action in Action::\"{eid}\"`");
            self.report(offset, format!("`{eid}` is a group: no action equals it"), help);
        }
    }

    fn path(&mut self, path: &Path<'_>) {
        if path.attrs.is_empty() {
            return;
        }
        let (rule, first) = (self.rule, path.attrs.first().copied().unwrap_or_default());
        if path.var != Var::Context {
            let offset = syntax::find_attribute(rule.text(), first, 0);
            let message = format!("{} has no attribute `{first}`", path.shown());
            let help = "ask with `in Role::\"…\"`, `in System::\"…\"`, or look into `context`";
            self.report(offset, message, help.to_owned());
            return;
        }
        if self.is_idle && (path.is_in_context(&["args"]) || path.is_in_context(&["labels", "arg"]))
        {
            return;
        }
        let mut deepest: Option<(usize, Vec<&str>)> = None;
        for model in &self.concerned {
            match model.context.at(&path.attrs) {
                Ok(_) => return,
                Err((depth, known)) => match &mut deepest {
                    Some((most, all)) if *most == depth => all.extend(known),
                    Some((most, _)) if *most > depth => {}
                    _ => deepest = Some((depth, known)),
                },
            }
        }
        let Some((depth, known)) = deepest else {
            return;
        };
        let wrong = path.attrs.get(depth).copied().unwrap_or_default();
        let holder = path.attrs.get(..depth).unwrap_or_default();
        let holder: String =
            std::iter::once("context").chain(holder.iter().copied()).collect::<Vec<_>>().join(".");
        let offset = syntax::find_attribute(rule.text(), wrong, 0);
        let help = typo::hint(wrong, known);
        self.report(offset, format!("`{holder}` has no attribute `{wrong}`"), help);
    }

    fn node(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(Literal::EntityUID(uid)) => self.uid(uid),
            Expr::Is { entity_type, .. } => self.kind(entity_type),
            Expr::BinaryOp { op: BinaryOp::Eq | BinaryOp::NotEq, left, right } => {
                for (one, other) in [(left, right), (right, left)] {
                    self.listed(syntax::path(one), syntax::string(other).into_iter().collect());
                    if let Expr::Var(Var::Action) = &**one
                        && let Expr::Literal(Literal::EntityUID(uid)) = &**other
                    {
                        self.no_group(uid);
                    }
                }
            }
            Expr::BinaryOp { op: BinaryOp::Contains, left, right } => {
                self.listed(syntax::path(right), syntax::strings(left).unwrap_or_default());
                self.listed(syntax::path(left), syntax::string(right).into_iter().collect());
            }
            Expr::BinaryOp { op: BinaryOp::ContainsAll | BinaryOp::ContainsAny, left, right } => {
                self.listed(syntax::path(left), syntax::strings(right).unwrap_or_default());
            }
            _ => {}
        }
    }

    /// A word compared with an attribute that has a closed list of words must be on it.
    fn listed(&mut self, path: Option<Path<'_>>, words: Vec<&str>) {
        let Some(path) = path.filter(|path| path.var == Var::Context) else {
            return;
        };
        let mut lists = Vec::new();
        for model in &self.concerned {
            match model.context.at(&path.attrs) {
                Ok(Shape::Text(Some(list))) => lists.push(list),
                Ok(Shape::Set(item)) => match &**item {
                    Shape::Text(Some(list)) => lists.push(list),
                    _ => return,
                },
                Ok(_) => return,
                Err(_) => {}
            }
        }
        if lists.is_empty() {
            return;
        }
        for word in words {
            if !lists.iter().any(|list| list.iter().any(|known| known == word)) {
                let offset = syntax::find_word(self.rule.text(), word);
                let known = lists.iter().flat_map(|list| list.iter().map(String::as_str));
                let help = typo::hint(word, known);
                self.report(offset, format!("`{}` is never `{word}`", path.shown()), help);
            }
        }
    }

    /// A rewrite that no concerned operation offers could be demanded for ever.
    fn transforms(&mut self) {
        let rule = self.rule;
        for name in &rule.knobs.transforms {
            let pointer = name.strip_prefix("mask:");
            let is_offered = |model: &&Model| {
                pointer.is_some_and(|p| model.operation.maskable.iter().any(|known| known == p))
            };
            if !self.is_idle && !self.concerned.iter().any(is_offered) {
                let maskable =
                    self.concerned.iter().flat_map(|model| model.operation.maskable.iter());
                let known: Vec<String> =
                    maskable.map(|pointer| format!("mask:{pointer}")).collect();
                let help = typo::hint(name, known.iter().map(String::as_str));
                let offset = syntax::find_word(rule.text(), name);
                self.report(
                    offset,
                    format!("no operation concerned offers the rewrite `{name}`"),
                    help,
                );
            }
        }
    }
}
