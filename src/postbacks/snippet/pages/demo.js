// Shows on the demo page what the snippet captured. No part of the snippet.
'use strict';

window.postbacks = window.postbacks || function () { (postbacks.q = postbacks.q || []).push(arguments); };

const known = ['fbclid', 'gclid', 'gbraid', 'wbraid', 'ttclid', 'rdt_cid', 'twclid'];
const clicks = [...new URLSearchParams(location.search)].filter(([name]) => known.includes(name.toLowerCase()));
const element = (id) => document.getElementById(id);

for (const [name, value] of clicks) {
  const row = element('clicks').tBodies[0].insertRow();
  const head = row.appendChild(document.createElement('th'));
  head.scope = 'row';
  head.textContent = name.toLowerCase();
  row.insertCell().textContent = value;
}
element('clicks').hidden = clicks.length === 0;
element('none').hidden = clicks.length > 0;

const fresh = () => `demo-${crypto.getRandomValues(new Uint32Array(3)).join('-')}`;
const campaign = 'utm_source=demo&utm_campaign=lanterns';
element('click').href = '/demo?' + ['fbclid', 'gclid', 'ttclid', 'rdt_cid', 'twclid']
  .map((name) => `${name}=${fresh()}`).join('&') + `&${campaign}`;

postbacks('visitor', (visitor) => {
  element('visitor').textContent = visitor;
  const player = fresh().replace('demo', 'player');
  const events = [
    { name: 'install', event_id: fresh(), visitor_id: visitor, user_id: player },
    { name: 'purchase', event_id: fresh(), user_id: player, value: 4.99, currency: 'EUR' },
  ];
  element('curl').textContent = events.map((event) => [
    `curl -X POST ${location.origin}/v1/events \\`,
    '  -H "Authorization: Bearer $SECRET_KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d '${JSON.stringify(event)}'`,
  ].join('\n')).join('\n');
});
