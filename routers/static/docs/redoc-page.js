"use strict";

// The search would need a worker that is made of a string.
Redoc.init("openapi.json", { disableSearch: true, nativeScrollbars: true }, document.getElementById("redoc"));
