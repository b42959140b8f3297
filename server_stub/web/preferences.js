/** What this browser remembers of how its viewer likes the page. */

// Where storage is forbidden, a reload forgets; the page works all the same.
const memory = new Map();

/** A choice between yes and no that is remembered under `name`. */
export class Preference {
  #name;

  constructor(name, { isOnAtFirst }) {
    this.#name = `camagent.${name}`;
    this.isOn = (load(this.#name) ?? (isOnAtFirst ? 'yes' : 'no')) === 'yes';
  }

  set(isOn) {
    this.isOn = isOn;
    store(this.#name, isOn ? 'yes' : 'no');
  }

  toggle() {
    this.set(!this.isOn);
  }
}

function load(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return memory.get(name) ?? null;
  }
}

function store(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    memory.set(name, value);
  }
}
