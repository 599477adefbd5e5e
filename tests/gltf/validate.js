// Prints the report of Khronos' glTF validator as JSON: node validate.js FILE.glb
// Exits with 0 whatever it found; the caller reads "issues".
const fs = require("fs");
const validator = require("gltf-validator");

validator
  .validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])), { maxIssues: 1000, writeTimestamp: false })
  .then((report) => console.log(JSON.stringify(report, null, 2)))
  .catch((error) => {
    console.error(String(error));
    process.exit(1);
  });
