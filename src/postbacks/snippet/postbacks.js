// Postbacks landing-page snippet; see docs/snippet.md
(() => {
  const script = document.currentScript || document.querySelector('script[data-key]');
  const { key, storage, decorate = '' } = script.dataset;
  const stub = window.postbacks || {};
  if (!key || stub.live) return;

  const stored = storage === 'cookie' && /\b_pb_vid=([\w-]+)/.exec(document.cookie);
  const optOut = navigator.globalPrivacyControl ? { ad_personalization: false } : {};
  const hosts = decorate.split(/\s+/);
  const landings = new Map(); // to the state last sent
  const seen = {};
  const waiting = [];
  let visitor = stored ? stored[1] : crypto.getRandomValues(new Uint32Array(4)).join('-');
  let known = stored, consent = optOut, utm = {}, pending = 0, failures = 0, user, keep, scheduled;

  // Nothing that fails in here reaches the page.
  const safely = (action) => (...args) => {
    try { action(...args); } catch (error) {}
  };

  const capture = (href) => {
    const { origin, pathname, search, searchParams } = new URL(href);
    const referrer = document.referrer.split('?')[0] || undefined;
    const landing = { url: origin + pathname, click_ids: {}, referrer, utm: {} };
    // A "+" is a space in UTM values, itself in click IDs.
    new URLSearchParams(search.replace(/\+/g, '%2B')).forEach((value, name) => {
      if (/^utm_/.test(name)) (utm = landing.utm)[name] = searchParams.get(name);
      name = name.toLowerCase();
      if (!value || seen[name + value] || !/^(fbclid|gclid|gbraid|wbraid|ttclid|rdt_cid|twclid)$/.test(name)) return;
      landing.click_ids[name] = value;
      landings.set(landing);
      seen[name + value] = keep = true;
      schedule();
    });
  };
  const look = safely(() => capture(location.href));

  // Commands given together make one request.
  const schedule = () => {
    scheduled = scheduled || Promise.resolve().then(safely(flush));
  };

  const flush = () => {
    scheduled = 0;
    const refused = consent.attribution === false;
    const secure = location.protocol === 'https:' ? '; secure' : '';
    if (storage === 'cookie' && (keep || refused)) {
      document.cookie = `_pb_vid=${visitor}; path=/; samesite=lax; max-age=${refused ? 0 : 7776000}${secure}`;
    }
    if (known && user && !landings.size) landings.set({});
    landings.forEach(send);
    if (!pending) settle();
  };

  const settle = () => waiting.splice(0).forEach((callback) => safely(callback)(visitor));

  const send = (last, landing) => {
    const state = JSON.stringify([consent, user]);
    if (last === state) return;
    landings.set(landing, state);
    pending++;
    // Text needs no preflight; keepalive survives leaving.
    fetch(new URL('v1/clicks', script.src), {
      method: 'POST',
      body: JSON.stringify(Object.assign({ key, visitor_id: visitor, user_id: user, consent }, landing)),
      keepalive: true,
    }).then((response) => {
      if (response.status > 499) throw response;
      return response.json();
    }).then((answer) => {
      // On a reload, whom the click ID brought first.
      if (!known) visitor = known = answer.visitor_id || visitor;
    }).catch(() => {
      if (failures++ < 5) setTimeout(() => schedule(landings.set(landing)), 3000);
    }).then(() => {
      pending--;
      schedule();
    });
  };

  const commands = {
    consent: (flags) => {
      consent = Object.assign({}, consent, flags, optOut);
    },
    identify: (id) => {
      if (id) user = `${id}`;
    },
    visitor: (callback) => {
      keep = waiting.push(callback);
      setTimeout(settle, 2000);
    },
  };

  // What a link already says stays.
  const pass = safely((event) => {
    const link = event.composedPath().find((node) => node.hostname && hosts.includes(node.hostname));
    Object.keys(utm).forEach((name) => {
      if (new URL(link.href).searchParams.has(name)) return;
      link.search += `${link.search && '&'}${name}=${encodeURIComponent(utm[name])}`;
    });
  });

  const postbacks = window.postbacks = safely((name, argument) => {
    commands[name](argument);
    schedule();
  });
  postbacks.live = true;
  // A router may have replaced the URL already.
  safely(() => capture(performance.getEntriesByType('navigation')[0].name))();
  look();
  (stub.q || []).forEach((args) => postbacks(...args));
  ['pushState', 'replaceState'].forEach((name) => {
    const original = history[name];
    history[name] = function (...args) {
      original.apply(this, args);
      look();
    };
  });
  addEventListener('popstate', look);
  ['pointerdown', 'click', 'auxclick'].forEach((type) => addEventListener(type, pass, true));
})();
