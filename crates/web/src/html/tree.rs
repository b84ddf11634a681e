//! The tree that browsers make of a page, within bounds.
//!
//! A page may be written so that its tree is far larger than itself, or takes far longer to build than to send. So the
//! text is fed in small pieces, and after each it is looked at how far things have come; what stands behind the bound is
//! cut off, as what stands behind the last byte is.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
};

use html5ever::{
    Attribute, ExpandedName, ParseOpts, QualName,
    interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink},
    parse_document,
    tendril::{StrTendril, TendrilSink},
};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

/// Bytes that are fed at a time.
const PIECE_BYTES: usize = 512;

/// Most nodes of a page, but for what its last piece makes.
pub(crate) const NODES_MAX: usize = 60_000;

/// Deepest that elements stand in each other, but for what the last piece adds.
pub(crate) const DEPTH_MAX: usize = 256;

/// Most templates: what stands in one is not seen by the depth.
const TEMPLATES_MAX: usize = 256;

/// Most attributes, about, of what is neither text nor a finished tag.
const SEPARATORS_MAX: usize = 20_000;

/// Reads a page; and whether a part of it was left out.
pub(crate) fn read(text: &str) -> (RcDom, bool) {
    let mut parser = parse_document(Guarded::default(), ParseOpts::default());
    let (mut rest, mut open, mut calls) = (text, 0_usize, 0);
    while !rest.is_empty() {
        let end = rest.floor_char_boundary(PIECE_BYTES.min(rest.len())).max(1);
        let Some((piece, after)) = rest.split_at_checked(end) else { break };
        parser.process(StrTendril::from_slice(piece));
        rest = after;
        let sink = &parser.tokenizer.sink.sink;
        let separators = piece.bytes().filter(|byte| b" \t\n/\"'".contains(byte)).count();
        open = if sink.calls.get() == calls { open.saturating_add(separators) } else { 0 };
        calls = sink.calls.get();
        if open > SEPARATORS_MAX || sink.is_full() {
            break;
        }
    }
    (parser.finish(), !rest.is_empty())
}

/// A tree that knows how large it is.
#[derive(Default)]
struct Guarded {
    dom: RcDom,
    nodes: Cell<usize>,
    templates: Cell<usize>,
    /// How often anything came.
    calls: Cell<u64>,
    /// Where something was last put.
    last: RefCell<Option<Handle>>,
}

impl Guarded {
    fn is_full(&self) -> bool {
        self.nodes.get() > NODES_MAX || self.templates.get() > TEMPLATES_MAX || self.is_deep()
    }

    fn is_deep(&self) -> bool {
        let mut at = self.last.borrow().clone();
        for _ in 0..=DEPTH_MAX {
            let Some(node) = at else { return false };
            let parent = node.parent.take();
            at = parent.as_ref().and_then(std::rc::Weak::upgrade);
            node.parent.set(parent);
        }
        true
    }

    fn made(&self, count: usize) {
        self.nodes.set(self.nodes.get().saturating_add(count));
        self.came();
    }

    fn came(&self) {
        self.calls.set(self.calls.get().saturating_add(1));
    }

    fn put(&self, at: &Handle, child: &NodeOrText<Handle>) {
        self.made(usize::from(matches!(child, NodeOrText::AppendText(_))));
        *self.last.borrow_mut() = Some(match child {
            NodeOrText::AppendNode(node) => node.clone(),
            NodeOrText::AppendText(_) => at.clone(),
        });
    }
}

impl TreeSink for Guarded {
    type Handle = Handle;
    type Output = RcDom;
    type ElemName<'a> = ExpandedName<'a>;

    fn finish(self) -> RcDom {
        self.dom
    }

    /// Nobody reads them, and they would be kept.
    fn parse_error(&self, _: Cow<'static, str>) {
        self.came();
    }

    fn get_document(&self) -> Handle {
        self.dom.get_document()
    }

    fn elem_name<'a>(&'a self, target: &'a Handle) -> ExpandedName<'a> {
        self.dom.elem_name(target)
    }

    fn create_element(&self, name: QualName, attrs: Vec<Attribute>, flags: ElementFlags) -> Handle {
        self.made(1);
        if &*name.local == "template" {
            self.templates.set(self.templates.get().saturating_add(1));
        }
        self.dom.create_element(name, attrs, flags)
    }

    fn create_comment(&self, _: StrTendril) -> Handle {
        self.made(1);
        self.dom.create_comment(StrTendril::new())
    }

    fn create_pi(&self, target: StrTendril, data: StrTendril) -> Handle {
        self.made(1);
        self.dom.create_pi(target, data)
    }

    fn append(&self, parent: &Handle, child: NodeOrText<Handle>) {
        self.dom.append(parent, child.counted(self, parent));
    }

    fn append_based_on_parent_node(
        &self,
        element: &Handle,
        before: &Handle,
        child: NodeOrText<Handle>,
    ) {
        self.dom.append_based_on_parent_node(element, before, child.counted(self, element));
    }

    fn append_doctype_to_document(&self, name: StrTendril, public: StrTendril, system: StrTendril) {
        self.dom.append_doctype_to_document(name, public, system);
    }

    fn get_template_contents(&self, target: &Handle) -> Handle {
        self.dom.get_template_contents(target)
    }

    fn same_node(&self, one: &Handle, two: &Handle) -> bool {
        self.dom.same_node(one, two)
    }

    fn set_quirks_mode(&self, mode: QuirksMode) {
        self.dom.set_quirks_mode(mode);
    }

    fn append_before_sibling(&self, sibling: &Handle, child: NodeOrText<Handle>) {
        self.dom.append_before_sibling(sibling, child.counted(self, sibling));
    }

    fn add_attrs_if_missing(&self, target: &Handle, attrs: Vec<Attribute>) {
        self.dom.add_attrs_if_missing(target, attrs);
    }

    fn remove_from_parent(&self, target: &Handle) {
        self.dom.remove_from_parent(target);
    }

    fn reparent_children(&self, node: &Handle, new_parent: &Handle) {
        self.dom.reparent_children(node, new_parent);
    }

    /// What a script would be needed for stays out.
    fn allow_declarative_shadow_roots(&self, _: &Handle) -> bool {
        false
    }
}

/// Counts what is put somewhere, and hands it on.
trait Counted {
    fn counted(self, sink: &Guarded, at: &Handle) -> Self;
}

impl Counted for NodeOrText<Handle> {
    fn counted(self, sink: &Guarded, at: &Handle) -> Self {
        sink.put(at, &self);
        self
    }
}

/// The name of an element; empty for what is none.
pub(crate) fn name_of(node: &Handle) -> &str {
    match &node.data {
        NodeData::Element { name, .. } => &name.local,
        _ => "",
    }
}

/// An attribute's value.
pub(crate) fn attribute(node: &Handle, wanted: &str) -> Option<String> {
    let NodeData::Element { attrs, .. } = &node.data else { return None };
    let attrs = attrs.borrow();
    let found = attrs.iter().find(|attribute| &*attribute.name.local == wanted);
    found.map(|attribute| attribute.value.to_string())
}
