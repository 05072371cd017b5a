//! The pickle of a PyTorch state dictionary, read by a machine that can build lists of tensors and nothing else.
//! No global is looked up and nothing is called: an allow-list of opcodes and of six globals, all else is refused by
//! name. A container that lies in another can no longer change, so nesting has a known depth and there is no cycle.
//! Errors: [`ImportError::Pickle`], with opcode and place, or the global's name.
//! Source: Python's `pickletools`; PyTorch's `torch/serialization.py` and `_weights_only_unpickler.py` (what state
//! dictionaries hold).

use super::ImportError;
use candle_core::DType;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Opcodes of one file: far above any list of tensors within [`super::BYTES_MAX`].
const STEPS_MAX: usize = 5_000_000;
/// Containers within containers.
const DEPTH_MAX: usize = 32;

/// Where a tensor's numbers lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// The type of its numbers.
    pub dtype: DType,
    /// The file `data/KEY` of the archive.
    pub key: String,
    /// Numbers.
    pub numel: usize,
}

/// A tensor as the pickle describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Its numbers.
    pub storage: Storage,
    /// Its first number.
    pub offset: usize,
    /// Dimensions.
    pub size: Vec<usize>,
    /// Steps along each dimension, in numbers.
    pub stride: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
}

#[derive(Clone)]
enum Value {
    Mark,
    None,
    Bool,
    Int(i64),
    Float,
    Text(Rc<str>),
    Global(Global),
    Storage(Rc<Storage>),
    Tensor(Rc<StoredTensor>),
    Tuple(Rc<Vec<Value>>, usize),
    Dict(Rc<Dict>),
    List(Rc<Dict>),
}

#[derive(Default)]
struct Dict {
    pairs: RefCell<Vec<(Value, Value)>>,
    depth: Cell<usize>,
    inside: Cell<bool>,
}

fn refused(what: impl Into<String>) -> ImportError {
    ImportError::Pickle(what.into())
}

fn global(module: &str, name: &str) -> Result<Global, ImportError> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "FloatStorage") => Global::Storage(DType::F32),
        ("torch", "HalfStorage") => Global::Storage(DType::F16),
        ("torch", "BFloat16Storage") => Global::Storage(DType::BF16),
        ("torch", "DoubleStorage") => Global::Storage(DType::F64),
        ("torch", "LongStorage") => Global::Storage(DType::I64),
        ("torch", "IntStorage") => Global::Storage(DType::U32),
        ("torch", "ByteStorage") => Global::Storage(DType::U8),
        _ => return Err(refused(format!("it asks for {module}.{name}, which no list of tensors needs"))),
    })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: Vec<Option<Value>>,
}

/// The named tensors of a state dictionary, in its order.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, StoredTensor)>, ImportError> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), memo: Vec::new() };
    let top = machine.run()?;
    state_dict(&top)
}

fn state_dict(top: &Value) -> Result<Vec<(String, StoredTensor)>, ImportError> {
    let Value::Dict(dict) = top else { return Err(refused("its top is not a dictionary of tensors")) };
    let pairs = dict.pairs.borrow();
    for key in ["state_dict", "model_state_dict", "model"] {
        let nested = pairs.iter().find(|(name, value)| {
            matches!(name, Value::Text(name) if &**name == key) && matches!(value, Value::Dict(_))
        });
        if let Some((_, nested)) = nested {
            return state_dict(nested);
        }
    }
    pairs
        .iter()
        .map(|(name, value)| match (name, value) {
            (Value::Text(name), Value::Tensor(tensor)) => Ok(((**name).to_owned(), (**tensor).clone())),
            (Value::Text(name), _) => Err(refused(format!("{name} is not a tensor"))),
            _ => Err(refused("a tensor's name is not a text")),
        })
        .collect()
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Value, ImportError> {
        for _ in 0..STEPS_MAX {
            let place = self.at;
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode, place)?;
        }
        Err(refused(format!("it has more than {STEPS_MAX} steps")))
    }

    fn step(&mut self, opcode: u8, place: usize) -> Result<(), ImportError> {
        let value = match opcode {
            0x80 => return self.take(1).map(drop),
            0x95 => return self.take(8).map(drop),
            b'(' => Value::Mark,
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            b'K' => Value::Int(i64::from(self.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.array()?))),
            0x8a => self.long()?,
            b'G' => self.take(8).map(|_| Value::Float)?,
            b'X' => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                self.text(length)?
            }
            0x8c => {
                let length = usize::from(self.byte()?);
                self.text(length)?
            }
            b')' => Value::Tuple(Rc::new(Vec::new()), 1),
            b'}' => Value::Dict(Rc::default()),
            b']' => Value::List(Rc::default()),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Value::Global(global(&module, &name)?)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(refused("a global whose name is not a text"));
                };
                Value::Global(global(&module, &name)?)
            }
            b't' => {
                let items = self.since_mark()?;
                tuple(items)?
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(count).ok_or_else(short)?;
                tuple(self.stack.split_off(from))?
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'q' | b'r' | 0x94 => return self.put(opcode),
            b'h' | b'j' => {
                let index =
                    if opcode == b'h' { usize::from(self.byte()?) } else { u32::from_le_bytes(self.array()?) as usize };
                self.memo
                    .get(index)
                    .cloned()
                    .flatten()
                    .ok_or_else(|| refused("it reads a memo that was never written"))?
            }
            b's' | b'u' | b'a' | b'e' => return self.fill(opcode),
            // the state of a dictionary of tensors is PyTorch's metadata: of no use here, and dropped
            b'b' => return self.pop().map(drop),
            b'0' => return self.pop().map(drop),
            other => {
                let shown = char::from(other).escape_default();
                return Err(refused(format!("opcode {other:#04x} ({shown}) at byte {place} is not allowed")));
            }
        };
        self.stack.push(value);
        Ok(())
    }

    fn put(&mut self, opcode: u8) -> Result<(), ImportError> {
        let index = match opcode {
            b'q' => usize::from(self.byte()?),
            b'r' => u32::from_le_bytes(self.array()?) as usize,
            _ => self.memo.len(),
        };
        if index > self.memo.len() + 1024 || index > STEPS_MAX {
            return Err(refused("it leaves large gaps in its memo"));
        }
        let top = self.stack.last().cloned().ok_or_else(short)?;
        if self.memo.len() <= index {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(top);
        Ok(())
    }

    /// Puts items into the dictionary or list below them.
    fn fill(&mut self, opcode: u8) -> Result<(), ImportError> {
        let items = match opcode {
            b's' => {
                let from = self.stack.len().checked_sub(2).ok_or_else(short)?;
                self.stack.split_off(from)
            }
            b'a' => vec![self.pop()?],
            _ => self.since_mark()?,
        };
        let (into, pairs) = match (self.stack.last(), opcode) {
            (Some(Value::Dict(dict)), b's' | b'u') if items.len().is_multiple_of(2) => {
                (dict, items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect::<Vec<_>>())
            }
            (Some(Value::List(list)), b'a' | b'e') => {
                (list, items.into_iter().map(|item| (Value::None, item)).collect())
            }
            _ => return Err(refused("it fills something that is no dictionary or list")),
        };
        if into.inside.get() {
            return Err(refused("it changes a container that lies in another"));
        }
        for (key, value) in pairs {
            let deepest = enclosed(&key)?.max(enclosed(&value)?);
            if into.inside.get() {
                return Err(refused("it changes a container to hold itself"));
            }
            into.depth.set(into.depth.get().max(deepest));
            into.pairs.borrow_mut().push((key, value));
        }
        if into.depth.get() < DEPTH_MAX { Ok(()) } else { Err(refused("its containers lie too deep")) }
    }

    fn storage(&mut self) -> Result<Value, ImportError> {
        let Value::Tuple(parts, _) = self.pop()? else { return Err(refused("a storage that is no tuple")) };
        match &parts[..] {
            [
                Value::Text(kind),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(numel),
            ] if &**kind == "storage" && key.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                let numel = usize::try_from(*numel).map_err(|_| refused("a storage of a negative size"))?;
                Ok(Value::Storage(Rc::new(Storage { dtype: *dtype, key: (**key).to_owned(), numel })))
            }
            _ => Err(refused("a persistent object that is no storage of numbers")),
        }
    }

    fn call(&mut self) -> Result<Value, ImportError> {
        let (arguments, what) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments, _), Value::Global(what)) = (arguments, what) else {
            return Err(refused("a call of something that is no allowed global"));
        };
        match (what, &arguments[..]) {
            (Global::OrderedDict, []) => Ok(Value::Dict(Rc::default())),
            (
                Global::RebuildTensor,
                [Value::Storage(storage), Value::Int(offset), Value::Tuple(size, _), Value::Tuple(stride, _), ..],
            ) => Ok(Value::Tensor(Rc::new(StoredTensor {
                storage: (**storage).clone(),
                offset: usize::try_from(*offset).map_err(|_| refused("a negative offset"))?,
                size: lengths(size)?,
                stride: lengths(stride)?,
            }))),
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
            (what, _) => Err(refused(format!("{what:?} is called with arguments that it does not take"))),
        }
    }

    fn long(&mut self) -> Result<Value, ImportError> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(refused("a whole number of more than 8 bytes"));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..length].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, ImportError> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark)).ok_or_else(short)?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn pop(&mut self) -> Result<Value, ImportError> {
        self.stack.pop().ok_or_else(short)
    }

    fn byte(&mut self) -> Result<u8, ImportError> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        self.take(N)?.try_into().map_err(|_| short())
    }

    fn take(&mut self, count: usize) -> Result<&[u8], ImportError> {
        let part = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end)).ok_or_else(short)?;
        self.at += count;
        Ok(part)
    }

    fn text(&mut self, length: usize) -> Result<Value, ImportError> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| refused("a text that is not UTF-8"))?;
        Ok(Value::Text(text.into()))
    }

    fn line(&mut self) -> Result<String, ImportError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().take(256).position(|&byte| byte == b'\n').ok_or_else(short)?;
        let text =
            std::str::from_utf8(&rest[..length]).map_err(|_| refused("a global's name is not UTF-8"))?.to_owned();
        self.at += length + 1;
        Ok(text)
    }
}

fn short() -> ImportError {
    refused("it is cut short")
}

fn tuple(items: Vec<Value>) -> Result<Value, ImportError> {
    let mut depth = 0;
    for item in &items {
        depth = depth.max(enclosed(item)?);
    }
    if depth >= DEPTH_MAX {
        return Err(refused("its containers lie too deep"));
    }
    Ok(Value::Tuple(Rc::new(items), depth + 1))
}

/// The depth of a value that is put into a container, which can no longer change then.
fn enclosed(value: &Value) -> Result<usize, ImportError> {
    Ok(match value {
        Value::Mark => return Err(refused("a mark inside a container")),
        Value::Tuple(_, depth) => *depth,
        Value::Dict(dict) | Value::List(dict) => {
            dict.inside.set(true);
            dict.depth.get() + 1
        }
        _ => 0,
    })
}

fn lengths(values: &[Value]) -> Result<Vec<usize>, ImportError> {
    let length = |value: &Value| match value {
        Value::Int(value) => usize::try_from(*value).map_err(|_| refused("a negative length")),
        _ => Err(refused("a length that is no whole number")),
    };
    values.iter().map(length).collect()
}
