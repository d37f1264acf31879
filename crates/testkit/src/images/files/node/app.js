// Answers with what the image and the packages give it.
const polka = require("polka");
const sirv = require("sirv");

const server = polka()
  .use(sirv("/app/public"))
  .get("/laps/:driver", (request, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ driver: request.params.driver, mode: process.env.NODE_ENV, uid: process.getuid() }));
  })
  .listen(3000, () => console.log("listening on 3000"));

process.on("SIGTERM", () => server.server.close(() => process.exit(0)));
