"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false, // a key that was typed in is forgotten with the page
  validatorUrl: null, // else a picture of another host says whether the document is valid
});
