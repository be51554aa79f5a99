// Peer: Node, 2 forked children that talk by its own messages.
'use strict';
const {fork} = require('child_process');

const micros = () => Number(process.hrtime.bigint()) / 1000;
function think() {  // keeps the processor for 300 us, and says how long that was
  const begin = micros();
  while (micros() < begin + 300) {}
  return micros() - begin;
}

if (process.argv[2] === 'worker') {
  process.on('message', (m) => process.send(m === 'think' ? think() : m));
} else {
  const name = process.argv[2], asleep = name === 'pool-submit-asleep';
  const workers = [0, 1].map(() => fork(__filename, ['worker']));
  const emit = (metric, value, unit) =>
      console.log([name, 'Node, forked children', 'peer', metric, value.toPrecision(6), unit, 'sleeps'].join('\t'));
  const end = () => workers.forEach((w) => w.disconnect());
  const median = (all) => all.sort((a, b) => a - b)[all.length >> 1];

  if (name.startsWith('pool-map-chunk-1')) {
    const tasks = name.endsWith('-20k') ? 20000 : 200000, ahead = 64;
    let sent = 0, got = 0, begin = micros();
    workers.forEach((w) => {
      w.on('message', () => {
        if (sent < tasks) w.send(sent++);
        if (++got < tasks) return;
        emit('rate', tasks / (micros() - begin) * 1e6, 'task/s');
        end();
      });
      for (let i = 0; i < ahead; ++i) w.send(sent++);
    });
  } else if (name === 'pool-submit' || asleep) {
    const samples = [];
    let begin = 0;
    const next = () => {
      if (asleep) think();
      begin = micros();
      workers[0].send(asleep ? 'think' : 0);
    };
    workers[0].on('message', (thought) => {
      samples.push(micros() - begin - thought);
      if (samples.length < 3000) return next();
      emit('p50', median(samples.slice(1000)), 'us');
      end();
    });
    next();
  } else {
    console.error('node_pool: no case ' + name);
    process.exit(2);
  }
}
