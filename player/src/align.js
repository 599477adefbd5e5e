// Two swings beside each other: which moment of one belongs to which of the other, and which differences one camera can tell.

export const EVENTS = ["address", "toe_up", "mid_backswing", "top", "mid_downswing", "impact", "mid_follow_through", "finish"];

export const EVENT_LABELS = {
  address: "Address",
  toe_up: "Toe-up",
  mid_backswing: "Mid-backswing",
  top: "Top",
  mid_downswing: "Mid-downswing",
  impact: "Impact",
  mid_follow_through: "Follow-through",
  finish: "Finish",
};

/** Places (frames, between frames too) of the events that both swings have, in their order: [{name, mine, other}]. */
export function sharedEvents(mine, other) {
  return EVENTS.filter((name) => mine[name] && other[name])
    .map((name) => ({ name, mine: mine[name].frame_exact, other: other[name].frame_exact }))
    .filter((event, i, all) => i === 0 || (event.mine > all[i - 1].mine && event.other > all[i - 1].other));
}

/** The place of `frame` of one clip in the other: evenly between two shared events, and at the nearest part's pace outside them. */
export function otherFrame(frame, events) {
  if (!events.length) return frame;
  if (events.length === 1) return frame - events[0].mine + events[0].other;
  let right = events.findIndex((event, i) => i > 0 && frame <= event.mine);
  if (right < 0) right = events.length - 1;
  const a = events[right - 1];
  const b = events[right];
  return a.other + ((frame - a.mine) * (b.other - a.other)) / (b.mine - a.mine);
}

/** Two measures against each other; `told` where the difference is beyond the root of the sum of both squared error bars. */
export function difference(mine, other) {
  const value = mine.value === null || other?.value === null || other?.value === undefined ? null : mine.value - other.value;
  const bar = mine.bar === null || (other?.bar ?? null) === null ? null : Math.hypot(mine.bar, other.bar);
  const grey = mine.class === "C" || other?.class === "C";
  return { value, bar, told: value !== null && bar !== null && !grey && Math.abs(value) > bar };
}

/** How to lay another swing over this one: the turn about the vertical and the shift that bring its directions and its feet to ours. */
export function overlayMove(mine, other) {
  const heading = (frame) => Math.atan2(frame.target[0], frame.target[2]);
  const turn = heading(mine) - heading(other);
  const [x, , z] = other.origin_m;
  const turned = [x * Math.cos(turn) + z * Math.sin(turn), 0, -x * Math.sin(turn) + z * Math.cos(turn)];
  return { turn, shift: [mine.origin_m[0] - turned[0], mine.origin_m[1] - other.origin_m[1], mine.origin_m[2] - turned[2]] };
}
