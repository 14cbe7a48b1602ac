// What is looked at, and what hands do. The script is this file behind space.js, within one function.

const $ = id => document.getElementById(id);
const stage = $('stage'), map = $('map'), details = $('details'), query = $('query');
stage.tabIndex = 0;

const spaces = [...document.querySelectorAll('section.space')].map((s, i) => new Space(s, i));
if (!spaces.length) return;
const first = spaces.find(space => space.section.matches('.first')) || spaces[0];
let now = null, hits = [], current = -1, kept = null, lit = [], lens = null;

// --- where the eye is: x, y of the upper left corner, k pixels for one of the drawing ---

// Asked for once: a browser has to lay out everything to answer.
let measured = null;
const room = () => measured ??= { w: stage.clientWidth || 1000, h: stage.clientHeight || 500 };
const whole = space => Math.min(room().w / space.width, room().h / space.height, 1.5);

function look(eye) {
  const { w, h } = room();
  // Further away, there is more than a browser can show at once; the strip below shows all.
  const least = Math.max(Math.min(whole(now), .2) / 2, w / 60000);
  const k = Math.min(Math.max(eye.k, least), 12);
  const within = (at, size, seen) => size <= seen ? (size - seen) / 2 : Math.min(Math.max(at, -seen / 3), size - seen * 2 / 3);
  const x = within(eye.x, now.width, w / k);
  const y = now.height <= h / k ? 0 : within(eye.y, now.height, h / k);
  now.eye = { x, y, k };
  now.clip(x, x + w / k);
  now.svg.setAttribute('viewBox', `${x} ${y} ${w / k} ${h / k}`);
  now.svg.classList.toggle('far', k < .4);
  if (k >= .4) {
    for (const one of now.wide) {
      if (!one.texts[0].isConnected) continue;
      const length = one.length ??= Math.max(...one.texts.map(text => text.getComputedTextLength()));
      const inView = one.home >= x && one.home + 40 < x + w / k;
      const right = one.left + one.width - length - 6;
      const at = inView ? one.home : Math.max(one.left + 5, Math.min(x + 6, right));
      for (const text of one.texts) text.setAttribute('x', at);
    }
  }
  if (lens) for (const [name, value] of [['x', x], ['width', w / k]]) lens.setAttribute(name, value);
}
function zoom(by, atX = room().w / 2, atY = 0) {
  const { x, y, k } = now.eye;
  look({ ...now.eye, k: k * by });
  const next = now.eye.k;
  look({ k: next, x: x + atX / k - atX / next, y: y + atY / k - atY / next });
}
const move = (dx, dy) => look({ ...now.eye, x: now.eye.x + dx / now.eye.k, y: now.eye.y + dy / now.eye.k });
const readable = () => look({ x: 0, y: 0, k: Math.max(whole(now), .75) });
const fit = () => look({ x: 0, y: 0, k: whole(now) });
function centre(element) {
  const base = element.querySelector('.base');
  const at = name => Number(base.getAttribute(name));
  const { w, h } = room(), k = Math.max(now.eye.k, .75);
  const middle = marked === null ? at('x') + Math.min(at('width'), w / k * .8) / 2 : now.x(marked) ?? at('x');
  const y = at('y') + at('height') / 2 - h / k / 2;
  look({ k, x: Math.max(0, middle - w / k / 2), y: Math.max(0, y) });
}

// --- spaces ---

function show(space) {
  if (now === space) return;
  now?.section.classList.remove('on');
  room();
  now = space;
  now.clip(0, 0);
  now.section.classList.add('on');
  $('space').value = String(space.index);
  overview();
  if (now.eye) look(now.eye); else readable();
  remember();
}
function overview() {
  const [top, height] = now.svg.dataset.strip.split(' ').map(Number);
  map.setAttribute('viewBox', `0 ${top} ${now.width} ${height}`);
  map.replaceChildren();
  const put = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    return map.appendChild(element);
  };
  const grain = now.width / 1500;
  let drawn = -grain;
  for (const { element: piece } of now.things) {
    if (!piece.classList.contains('piece')) continue;
    const copy = piece.querySelector('.base').cloneNode();
    const [x, width] = ['x', 'width'].map(name => Number(copy.getAttribute(name)));
    // No more than can be told apart.
    if (x + width - drawn < grain) continue;
    drawn = x + width;
    copy.setAttribute('width', Math.max(width, grain));
    copy.setAttribute('class', 'seen ' + piece.classList.item(1));
    map.append(copy);
  }
  for (const { element, space } of hits.slice(0, 1000)) {
    if (space !== now) continue;
    const base = element.querySelector('.base');
    put('rect', { class: 'spot', x: base.getAttribute('x'), width: base.getAttribute('width'), y: top + height * .8, height: height * .2 });
  }
  lens = put('rect', { class: 'lens', x: 0, y: top, width: now.width, height });
}

// --- details ---

// Taken out of the drawing when they are first read, or the browser would show them a second time.
const words = new WeakMap();
function tell(element) {
  if (!words.has(element)) {
    const title = element.querySelector(':scope > title');
    words.set(element, title ? title.textContent : '');
    if (title) element.setAttribute('aria-label', title.textContent);
    title?.remove();
  }
  return words.get(element);
}
function describe(elements) {
  details.replaceChildren();
  for (const text of elements.map(tell)) {
    const block = document.createElement('div');
    text.trim().split('\n').forEach((line, at) => {
      block.appendChild(document.createElement(at ? 'p' : 'h2')).textContent = line;
    });
    details.append(block);
  }
  if (!elements.length) {
    const hint = document.createElement('p');
    hint.className = 'hint';
    hint.textContent = 'What is higher up is in front. Point at a region to see where it lies and who hides it.';
    details.append(hint);
  }
}
// A piece of the flat view, the region that answers there, and the column between them belong together.
function light(element) {
  for (const one of lit) one.classList.remove('lit');
  lit = [];
  const thing = element?.closest('[data-n], .hole');
  if (!thing) return describe([]);
  const number = thing.dataset.n;
  if (number !== undefined) lit = now.numbered.get(number);
  for (const one of lit) one.classList.add('lit');
  const node = lit.find(one => one.classList.contains('node'));
  const told = thing.matches('.piece, .hole') ? [thing] : [];
  if (node) told.push(node);
  if (element.matches('.hidden')) told.push(element);
  describe(told);
}

// --- search ---

let marked = null;
const marker = document.createElementNS(SVG, 'line');
marker.setAttribute('class', 'marker');

function search(text) {
  for (const { element } of hits) element.classList.remove('hit', 'now');
  for (const space of spaces) space.svg.classList.remove('searching');
  marker.remove();
  hits = [];
  current = -1;
  marked = null;
  text = text.trim().toLowerCase();
  if (text) {
    const address = /^0x[0-9a-f]{1,16}$/.test(text) ? text : null;
    if (address) byAddress(BigInt(address));
    else hits = inOrder().flatMap(space => space.nodes.filter(node => node.name.includes(text))
      .sort((one, other) => one.first < other.first ? -1 : one.first > other.first ? 1 : depth(one) - depth(other)));
    if (!hits.length && /^[0-9a-f]{1,16}$/.test(text)) byAddress(BigInt('0x' + text));
    for (const { element, space } of hits) {
      element.classList.add('hit');
      space.svg.classList.add('searching');
    }
  }
  overview();
  if (hits.length) jump(0); else { count(); look(now.eye); light(kept); remember(); }
}
const inOrder = () => [now, ...spaces.filter(space => space !== now)];
function byAddress(address) {
  marked = address;
  // From above: what the flat view says, then what is in front, then what is behind that.
  hits = inOrder().flatMap(space => space.things
    .filter(thing => thing.first <= address && address <= thing.last)
    .sort((one, other) => depth(one) - depth(other)));
}
const depth = ({ element }) => Number((element.querySelector('.bar') || element.querySelector('.base')).getAttribute('y'));
function jump(to) {
  hits[current]?.element.classList.remove('now');
  current = (to + hits.length) % hits.length;
  const { element, space } = hits[current];
  element.classList.add('now');
  show(space);
  const x = marked === null ? null : now.x(marked);
  if (x !== null) {
    for (const [name, value] of [['x1', x], ['x2', x], ['y1', 24], ['y2', now.height]]) marker.setAttribute(name, value);
    now.svg.append(marker);
  }
  kept = element;
  light(element);
  centre(element);
  count();
  remember();
}
function count() {
  const many = hits.length;
  $('count').textContent = !query.value.trim() ? '' : many ? `${current + 1} of ${many}` : 'nothing';
}
function step(by) {
  if (hits.length) return jump(current + by);
  const nodes = now.nodes;
  if (!nodes.length) return;
  const at = nodes.findIndex(node => node.element === kept);
  kept = nodes[at < 0 ? 0 : (at + by + nodes.length) % nodes.length].element;
  light(kept);
  centre(kept);
}

// --- what is shown, in the address of the page ---

function remember() {
  const parts = new URLSearchParams();
  if (now !== first) parts.set('space', now.index);
  if (query.value.trim()) parts.set('search', query.value.trim());
  try { history.replaceState(null, '', '#' + parts); } catch { /* not everywhere allowed */ }
}
function recall() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const text = parts.get('search') || '';
  show(spaces[parts.get('space') ?? first.index] || first);
  query.value = text;
  search(text);
}

// --- hands ---

const pointers = new Map();
let moved = 0;
stage.addEventListener('wheel', event => {
  event.preventDefault();
  const unit = event.deltaMode ? 20 : 1;
  const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
  if (event.shiftKey || Math.abs(dx) > Math.abs(dy)) return move(dx || dy, 0);
  const box = stage.getBoundingClientRect();
  zoom(Math.exp(-dy * .0018), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
stage.addEventListener('pointerdown', event => {
  if (event.button) return;
  pointers.set(event.pointerId, event);
  moved = 0;
});
stage.addEventListener('pointermove', event => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const others = [...pointers.values()].filter(one => one !== before);
  moved += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
  if (moved > 4 && !stage.classList.contains('moving')) {
    stage.classList.add('moving');
    stage.setPointerCapture(event.pointerId);
  }
  if (others.length === 1) {
    const far = one => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY) || 1;
    const box = stage.getBoundingClientRect();
    zoom(far(event) / far(before), others[0].clientX - box.left, others[0].clientY - box.top);
  } else if (moved > 4) {
    move(before.clientX - event.clientX, before.clientY - event.clientY);
  }
  pointers.set(event.pointerId, event);
});
for (const name of ['pointerup', 'pointercancel']) stage.addEventListener(name, event => {
  pointers.delete(event.pointerId);
  stage.classList.remove('moving');
});
stage.addEventListener('click', event => {
  if (moved > 4) return;
  kept = event.target.closest('.node, .piece');
  light(kept ? event.target : null);
});
stage.addEventListener('pointerover', event => { if (!pointers.size) light(event.target.closest('[data-n], .hole') ? event.target : kept); });
stage.addEventListener('pointerleave', () => light(kept));

const drag = event => {
  if (!event.buttons) return;
  const box = map.getBoundingClientRect();
  const at = (event.clientX - box.left) / box.width * now.width;
  look({ ...now.eye, x: at - room().w / now.eye.k / 2 });
};
map.addEventListener('pointerdown', drag);
map.addEventListener('pointermove', drag);

const keys = {
  ArrowLeft: () => move(-80, 0), ArrowRight: () => move(80, 0), ArrowUp: () => move(0, -60), ArrowDown: () => move(0, 60),
  PageUp: () => move(-room().w * .8, 0), PageDown: () => move(room().w * .8, 0),
  Home: () => look({ ...now.eye, x: 0 }), End: () => look({ ...now.eye, x: now.width }),
  '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(.8), 0: fit,
  n: () => step(1), p: () => step(-1), N: () => step(-1),
  s: () => turn(1), S: () => turn(-1),
  '/': () => { query.focus(); query.select(); },
  Escape: () => { kept = null; query.value = ''; search(''); stage.focus(); },
};
const turn = by => show(spaces[(now.index + by + spaces.length) % spaces.length]);
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest('input, select');
  if (typing && event.key !== 'Escape') return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
$('space').addEventListener('change', event => { kept = null; show(spaces[Number(event.target.value)]); });
$('in').addEventListener('click', () => zoom(1.25));
$('out').addEventListener('click', () => zoom(.8));
$('fit').addEventListener('click', fit);
$('previous').addEventListener('click', () => step(-1));
let asked = null;
$('search').addEventListener('submit', event => {
  event.preventDefault();
  if (asked === query.value) return step(1);
  asked = query.value;
  search(query.value);
});
let later = 0;
query.addEventListener('input', () => {
  clearTimeout(later);
  later = setTimeout(() => { asked = query.value; search(query.value); }, 150);
});
window.addEventListener('resize', () => { measured = null; look(now.eye); });
window.addEventListener('hashchange', recall);
recall();
