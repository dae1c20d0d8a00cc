{# What fct_sales is made from, for `changed_days` and `remember`. #}
{% macro inputs_of_sales() %}
    {{
        return(
            {
                "instant": "ordered_at",
                "lines": ref("int_shop_order_items"),
                "joined": ref("int_shop_orders"),
                "on": "order_id",
                "dimensions": {
                    "product_id": {"relation": ref("int_product_versions"), "key": "product_key"},
                    "customer_id": {"relation": ref("int_customer_versions"), "key": "customer_key"},
                    "store_id": {"relation": ref("int_shop_stores"), "columns": ["time_zone"]},
                },
            }
        )
    }}
{% endmacro %}

{# What fct_orders is made from: an order is joined with its lines, and every milestone with the calendar. #}
{% macro inputs_of_orders() %}
    {{
        return(
            {
                "instant": "ordered_at",
                "lines": ref("int_shop_orders"),
                "joined": ref("int_shop_order_items"),
                "on": "order_id",
                "dimensions": {
                    "customer_id": {"relation": ref("int_customer_versions"), "key": "customer_key"},
                    "store_id": {"relation": ref("int_shop_stores"), "columns": ["time_zone"]},
                },
                "whole": {"relation": ref("int_calendar_days"), "columns": ["date_day"]},
            }
        )
    }}
{% endmacro %}

{# What metric_sensor_readings is made from. #}
{% macro inputs_of_sensor_readings() %}
    {{
        return(
            {
                "instant": "read_at",
                "lines": ref("int_shop_sensor_readings"),
                "dimensions": {"device_id": {"relation": ref("int_shop_devices"), "columns": ["store_id"]}},
            }
        )
    }}
{% endmacro %}

{# What fct_sales_monthly joins to fct_sales: the department of each version of an article. #}
{% macro departments_of_sales() %}
    {{ return({"product_key": {"relation": ref("dim_product"), "columns": ["department_name"]}}) }}
{% endmacro %}
