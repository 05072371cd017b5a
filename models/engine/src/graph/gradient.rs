//! The reverse walk: the gradient of a score with respect to chosen nodes, as more operations of the same graph.
//! So a gradient is compiled, run and replayed like any value, and its bits are as exact.
//! Errors: [`EngineError::NoGradient`] for an operation without a rule (norms over space and groups).
//! Source: the chain rule; where a node has several readers their gradients are added in the readers' order, last
//! first.

use super::{Graph, Node, Op};
use crate::EngineError;

impl Graph {
    /// Appends a seed at `of` and the walk back; returns for each node of `at` the node that holds its gradient.
    /// The output stays what it was.
    pub fn gradient(&mut self, of: Node, at: &[Node]) -> Result<Vec<Node>, EngineError> {
        let output = self.output();
        let forward = self.ops().len();
        let depends = self.dependants(at, forward);
        let seed = self.push(Op::Seed { of });
        let mut gradients: Vec<Option<Node>> = vec![None; forward];
        gradients[of.0] = Some(seed);
        for node in (0..=of.0).rev() {
            let (Some(g), true) = (gradients[node], depends[node]) else { continue };
            if at.contains(&Node(node)) && !self.op(Node(node)).reads().iter().any(|read| depends[read.0]) {
                continue;
            }
            for (to, part) in self.parts(Node(node), g, &depends)? {
                gradients[to.0] = Some(match gradients[to.0] {
                    None => part,
                    Some(sum) => self.add(sum, part),
                });
            }
        }
        self.set_output(output);
        at.iter()
            .map(|node| {
                gradients[node.0]
                    .filter(|_| node.0 <= of.0)
                    .ok_or_else(|| EngineError::NoGradient { op: self.op(*node).name(), node: node.0 })
            })
            .collect()
    }

    /// Whether each node depends on (or is) one of `at`.
    fn dependants(&self, at: &[Node], forward: usize) -> Vec<bool> {
        let mut depends = vec![false; forward];
        for node in 0..forward {
            depends[node] = at.contains(&Node(node)) || self.ops()[node].reads().iter().any(|read| depends[read.0]);
        }
        depends
    }

    /// The gradients that node `node`, whose own is `g`, sends to those of its inputs that are asked for.
    fn parts(&mut self, node: Node, g: Node, depends: &[bool]) -> Result<Vec<(Node, Node)>, EngineError> {
        let asked = |node: &Node| depends[node.0];
        let op = self.op(node).clone();
        let (to, gradient) = match op {
            Op::Input => return Ok(Vec::new()),
            Op::Conv { x, weight, window, groups, .. } => {
                (x, Op::ConvTransposed { x: g, weight, bias: None, window, groups, like: Some(x) })
            }
            Op::ConvTransposed { x, weight, window, groups, .. } => {
                (x, Op::Conv { x: g, weight, bias: None, window, groups })
            }
            Op::Norm { x, norm } => (x, Op::NormGradient { g, norm }),
            Op::Activation { x, kind } => (x, Op::ActivationGradient { x, y: node, g, kind }),
            Op::Scale { x, by } => (x, Op::Scale { x: g, by }),
            Op::MaxPool { x, pool } => (x, Op::MaxPoolGradient { x, g, pool }),
            Op::MeanPool { x, pool } => (x, Op::MeanPoolGradient { g, pool, like: x }),
            Op::GlobalMean { x } => (x, Op::GlobalMeanGradient { g, like: x }),
            Op::Upsample { x, factor, mode } => (x, Op::UpsampleGradient { g, factor, mode, like: x }),
            Op::Flatten { x } => (x, Op::Unflatten { x: g, like: x }),
            Op::Unflatten { x, .. } => (x, Op::Flatten { x: g }),
            Op::Softmax { x } => (x, Op::SoftmaxGradient { y: node, g }),
            Op::Add { a, b } => return Ok([a, b].into_iter().filter(asked).map(|to| (to, g)).collect()),
            Op::Subtract { a, b } => {
                let mut parts = Vec::new();
                if depends[a.0] {
                    parts.push((a, g));
                }
                if depends[b.0] {
                    parts.push((b, self.push(Op::Scale { x: g, by: -1.0 })));
                }
                return Ok(parts);
            }
            Op::Concat { parts } => {
                let mut sent = Vec::new();
                for (which, &to) in parts.iter().enumerate().filter(|(_, part)| depends[part.0]) {
                    sent.push((to, self.push(Op::ConcatGradient { g, parts: parts.clone(), which })));
                }
                return Ok(sent);
            }
            Op::Multiply { a, b } => {
                let mut parts = Vec::new();
                for (to, other) in [(a, b), (b, a)] {
                    if depends[to.0] {
                        parts.push((to, self.push(Op::MultiplyGradient { g, other, like: to })));
                    }
                }
                return Ok(parts);
            }
            op => return Err(EngineError::NoGradient { op: op.name(), node: node.0 }),
        };
        Ok(vec![(to, self.push(gradient))])
    }
}
