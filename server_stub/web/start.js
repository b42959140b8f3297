/**
 * Loads the page again if its modules could not be had: a network that changes meanwhile takes them
 * away, and nothing else of the page would know. No module, so as not to be one of them.
 */
(() => {
  const MOST_TRIES = 3;
  const FIRST_PAUSE_MS = 500;

  // The number of tries outlasts a reload here, where that is not forbidden as storage may be.
  const tries = history.state?.tries ?? 0;

  function reload() {
    history.replaceState({ tries: tries + 1 }, '');
    location.reload();
  }

  function failed({ target }) {
    if (!(target instanceof HTMLScriptElement)) return;
    if (tries < MOST_TRIES) setTimeout(reload, FIRST_PAUSE_MS * 2 ** tries);
    else document.getElementById('unloaded').hidden = false;
  }

  // Such events do not bubble.
  addEventListener('error', failed, true);
})();
