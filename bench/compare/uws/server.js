// uWebSockets as a peer: /echo returns each message, who connects to /topic is subscribed, and each message sent
// to /publish is delivered to all of them. Settings as its documentation gives them for speed: no compression, no
// pings, no idle timeout. Usage: node server.js PORT
'use strict';

const uWS = require('@trufflesuite/uws-js-unofficial');

const port = Number(process.argv[2] || 9001);

const settings = {
  compression: uWS.DISABLED,
  maxPayloadLength: 16 * 1024 * 1024,
  maxBackpressure: 64 * 1024 * 1024,
  idleTimeout: 0,
  sendPingsAutomatically: false,
};

const app = uWS.App();

app
  .ws('/echo', { ...settings, message: (ws, message, isBinary) => { ws.send(message, isBinary, false); } })
  .ws('/topic', { ...settings, open: (ws) => { ws.subscribe('all'); } })
  .ws('/publish', { ...settings, message: (ws, message, isBinary) => { app.publish('all', message, isBinary, false); } })
  .listen('127.0.0.1', port, (socket) => {
    if (!socket) {
      console.error(`cannot listen on ${port}`);
      process.exit(1);
    }
    console.log(`pid ${process.pid} port ${port}`);
  });
