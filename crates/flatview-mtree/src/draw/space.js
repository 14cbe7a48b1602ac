// A space and its drawing, as far as it has nothing to do with what is looked at.

const SVG = 'http://www.w3.org/2000/svg';

// A machine may have hundreds of spaces: each is looked through when it is needed.
class Space {
  constructor(section, index) {
    this.section = section;
    this.index = index;
    this.svg = section.querySelector('svg');
    this.width = Number(this.svg.getAttribute('width'));
    this.height = Number(this.svg.getAttribute('height'));
    this.eye = null;
  }
  get things() {
    const read = e => {
      const [first, last] = e.dataset.at.split('-').map(hex => BigInt('0x' + hex));
      return { element: e, space: this, name: (e.dataset.name || '').toLowerCase(), first, last };
    };
    const all = [...this.svg.querySelectorAll('[data-at]')].map(read);
    Object.defineProperty(this, 'things', { value: all });
    return all;
  }
  // All that stands for a node: box, column, pieces of the flat view.
  get numbered() {
    const all = new Map();
    for (const element of this.svg.querySelectorAll('[data-n]')) {
      const number = element.dataset.n;
      if (!all.has(number)) all.set(number, []);
      all.get(number).push(element);
    }
    Object.defineProperty(this, 'numbered', { value: all });
    return all;
  }
  get nodes() { return this.things.filter(thing => thing.element.classList.contains('node')); }
  get scale() {
    const cut = pair => pair.split(',');
    const all = this.svg.dataset.scale.trim().split(' ').filter(Boolean).map(cut)
      .map(([address, x]) => [BigInt('0x' + address), Number(x)]);
    Object.defineProperty(this, 'scale', { value: all });
    return all;
  }
  // Names of what is wider than the window move along with it.
  get wide() {
    const all = this.nodes.map(({ element }) => {
      const base = element.querySelector('.base'), texts = [...element.children].filter(one => one.tagName === 'text');
      return { left: +base.getAttribute('x'), width: +base.getAttribute('width'), texts };
    }).filter(one => one.width > 240 && one.texts.length);
    for (const one of all) one.home = +one.texts[0].getAttribute('x');
    Object.defineProperty(this, 'wide', { value: all });
    return all;
  }
  // Browsers lay out all texts anew when the scale changes, even of what is not displayed: what is far away is
  // taken out of the document.
  get tiles() {
    void this.things, this.numbered;
    const size = 2500, all = [], { svg } = this;
    const sort = (elements, layer) => {
      const found = new Map();
      for (const element of elements) {
        const base = element.querySelector('.base') || element;
        const [x, width] = ['x', 'width'].map(name => Number(base.getAttribute(name)));
        if (width > size) continue;
        const at = Math.floor(x / size);
        if (!found.has(at)) {
          // A place for it, so that it comes back in its order.
          const place = layer.appendChild(document.createElementNS(SVG, 'g'));
          const group = document.createElementNS(SVG, 'g');
          found.set(at, { place, group, left: at * size, right: 0 });
        }
        const tile = found.get(at);
        tile.right = Math.max(tile.right, x + width + 150);
        tile.group.append(element);
      }
      all.push(...found.values());
    };
    if (svg.childElementCount > 400) {
      const nodes = document.createElementNS(SVG, 'g');
      // In front of wide ones, which they are in; what is in both keeps its order.
      svg.insertBefore(nodes, svg.querySelector('.view'));
      sort([...svg.querySelectorAll(':scope > .node')], nodes);
      for (const layer of svg.querySelectorAll('.columns, .ticks, .view')) sort([...layer.children], layer);
    }
    Object.defineProperty(this, 'tiles', { value: all });
    return all;
  }
  clip(left, right) {
    for (const tile of this.tiles) {
      const shown = tile.left <= right && tile.right >= left;
      if (shown && !tile.group.parentNode) tile.place.append(tile.group);
      if (!shown) tile.group.remove();
    }
  }
  x(address) {
    const scale = this.scale;
    let low = 0, high = scale.length - 1;
    if (high < 1 || address < scale[0][0] || address >= scale[high][0]) return null;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (scale[middle][0] <= address) low = middle; else high = middle;
    }
    const [from, to] = [scale[low], scale[high]];
    const part = Number((address - from[0]) * 4096n / (to[0] - from[0])) / 4096;
    return from[1] + part * (to[1] - from[1]);
  }
}
