//! What an agent is put together from, piece by piece.

use std::{future::Future, sync::Arc};

use engine::Clock;
use kernel::{
    RunId,
    agent::{Guide, Limits, Results, Skill},
    budget::Budget,
    id::Tenant,
    label::Confidentiality,
    port::{Blobs, Journal},
    principal::Principal,
};
use models::{Cassette, Client, Model, Models, ScriptedModel, Terms};
use receipts::key::Signer;

use crate::{
    Hook, Sensor, Tool, World,
    people::{Answer, Approver, Ask},
    plan::Spec,
    registry::{Registered, all},
    watch::{Happening, Onlooker},
};

/// The role that an agent thinks with where none is named.
pub const ROLE: &str = "main";

/// For whom an agent acts where nobody is named.
pub const REQUESTER: &str = "person:user";

/// A model that knows on which terms it is asked.
pub trait OnTerms: Model {
    /// What may be shown to it, how often it may be asked, what it costs.
    fn terms(&self) -> Terms;
}

impl OnTerms for Client {
    fn terms(&self) -> Terms {
        Terms::from(self.provider())
    }
}

impl OnTerms for ScriptedModel {
    fn terms(&self) -> Terms {
        Terms::own()
    }
}

impl OnTerms for Cassette {
    fn terms(&self) -> Terms {
        Terms::own()
    }
}

/// What stands behind the agent's role.
#[derive(Debug)]
pub(crate) enum Mind {
    One(Arc<dyn Model>, Terms),
    Roles(Arc<Models>),
}

/// Puts an [`Agent`](crate::Agent) together. Whatever is left out takes its strictest value.
#[derive(Debug)]
pub struct Builder {
    pub(crate) spec: Spec,
    pub(crate) mind: Option<Mind>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) sensors: Vec<Sensor>,
    pub(crate) policy: Option<String>,
    pub(crate) world: World,
    pub(crate) signer: Option<Signer>,
    pub(crate) approver: Option<Approver>,
    pub(crate) onlooker: Option<Onlooker>,
    pub(crate) chain: (Tenant, Option<Principal>),
    pub(crate) budget: Budget,
    pub(crate) task: Confidentiality,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            spec: Spec {
                name: "agent".to_owned(),
                role: ROLE.to_owned(),
                summary_role: None,
                instructions: "Do what you are asked, with the tools you have.".to_owned(),
                skills: Vec::new(),
                guides: Vec::new(),
                results: Results::default(),
                limits: Limits::default(),
            },
            mind: None,
            tools: Vec::new(),
            hooks: Vec::new(),
            sensors: Vec::new(),
            policy: None,
            world: World::default(),
            signer: None,
            approver: None,
            onlooker: None,
            chain: (Tenant::default(), None),
            budget: Budget::default(),
            task: Confidentiality::Internal,
        }
    }
}

impl Builder {
    /// What it is called: in receipts, and in policies as `Agent::"agent:<name>"`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.spec.name = name.to_owned();
        self
    }

    /// What the model is told before everything else.
    #[must_use]
    pub fn instructions(mut self, text: &str) -> Self {
        self.spec.instructions = text.to_owned();
        self
    }

    /// The model it thinks with, on the model's own terms.
    #[must_use]
    pub fn model(self, model: impl OnTerms + 'static) -> Self {
        let terms = model.terms();
        self.model_on(Arc::new(model), terms)
    }

    /// Any model, on these terms.
    #[must_use]
    pub fn model_on(mut self, model: Arc<dyn Model>, terms: Terms) -> Self {
        self.mind = Some(Mind::One(model, terms));
        self
    }

    /// Models by role, with fallbacks. What they say on the way is heard by whoever listens to them.
    #[must_use]
    pub fn models(mut self, models: Arc<Models>) -> Self {
        self.mind = Some(Mind::Roles(models));
        self
    }

    /// The role it thinks with; absent = [`ROLE`].
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.spec.role = role.to_owned();
        self
    }

    /// The role that sums up what no longer fits; absent = it is only shortened.
    #[must_use]
    pub fn summary_role(mut self, role: &str) -> Self {
        self.spec.summary_role = Some(role.to_owned());
        self
    }

    /// Something it may call, as far as policy lets it.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Every `#[tool]`, `#[skill]` and `#[guide]` of the program. (Every `#[hook]` and `#[sensor]` counts
    /// anyway: they only narrow and tell.)
    #[must_use]
    pub fn registered(mut self) -> Self {
        let tool = |one: &Registered| if let Registered::Tool(f) = one { Some(f()) } else { None };
        let skill =
            |one: &Registered| if let Registered::Skill(f) = one { Some(f()) } else { None };
        let guide =
            |one: &Registered| if let Registered::Guide(f) = one { Some(f()) } else { None };
        self.tools.extend(all(tool, |tool| tool.name.clone()));
        self.spec.skills.extend(all(skill, |skill| skill.name.clone()));
        self.spec.guides.extend(all(guide, |guide| guide.name.clone()));
        self
    }

    /// Instructions it may load.
    #[must_use]
    pub fn skill(mut self, skill: Skill) -> Self {
        self.spec.skills.push(skill);
        self
    }

    /// Text it is told where it helps.
    #[must_use]
    pub fn guide(mut self, guide: Guide) -> Self {
        self.spec.guides.push(guide);
        self
    }

    /// Code that looks at calls before they are made.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Code that looks at a tool's results.
    #[must_use]
    pub fn sensor(mut self, sensor: Sensor) -> Self {
        self.sensors.push(sensor);
        self
    }

    /// Cedar text: what is permitted beside thinking. Absent: reads that stay inside, and no write. What
    /// a permitted write inherits stands in `policy::INHERITED`: what cannot be taken back asks a person.
    #[must_use]
    pub fn policy(mut self, cedar: &str) -> Self {
        self.policy = Some(cedar.to_owned());
        self
    }

    /// Whoever is asked. Absent: every ask is refused at once.
    #[must_use]
    pub fn approver<F, W>(mut self, ask: F) -> Self
    where
        F: Fn(Ask) -> W + Send + Sync + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        self.approver = Some(Approver::new(ask));
        self
    }

    /// Whoever looks on while a run is under way. Must not block.
    #[must_use]
    pub fn on_progress(
        mut self,
        tell: impl Fn(&RunId, Happening<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.onlooker = Some(Onlooker(Arc::new(tell)));
        self
    }

    /// Limits of one agent: turns, calls, tokens, time.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.spec.limits = limits;
        self
    }

    /// Limits of one run: calls, writes, money.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Whether it sees untrusted results or only handles to them.
    #[must_use]
    pub fn results(mut self, results: Results) -> Self {
        self.spec.results = results;
        self
    }

    /// How confidential its tasks are; absent = internal.
    #[must_use]
    pub fn tasks_are(mut self, confidentiality: Confidentiality) -> Self {
        self.task = confidentiality;
        self
    }

    /// Where it writes, what time it is, where chance comes from; absent = [`World::default`].
    #[must_use]
    pub fn world(mut self, world: World) -> Self {
        self.world = world;
        self
    }

    /// Where it writes, such as `store::Sqlite`; absent = in memory.
    #[must_use]
    pub fn store<S: Journal + Blobs + 'static>(mut self, store: Arc<S>) -> Self {
        self.world.journal = Arc::clone(&store) as Arc<dyn Journal>;
        self.world.blobs = store;
        self
    }

    /// The clock it goes by.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.world.clock = clock;
        self
    }

    /// The key that signs receipts; absent = a new one that lives as long as the agent.
    #[must_use]
    pub fn signer(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Whose data and rights are at stake, and for whom it acts.
    #[must_use]
    pub fn on_behalf_of(mut self, tenant: Tenant, principal: Principal) -> Self {
        self.chain = (tenant, Some(principal));
        self
    }
}
