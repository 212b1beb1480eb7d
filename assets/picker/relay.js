// Hands what a small mount carries to the picker's module, whichever of the two loads first, and a way to answer.
export default function ({ data, setStateValue }) {
  const hub = (globalThis[Symbol.for("unlearning-studio.picker")] ??= { waiting: [] });
  if (hub.deliver) hub.deliver(data, setStateValue);
  else hub.waiting.push([data, setStateValue]);
}
